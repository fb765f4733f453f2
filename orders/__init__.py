"""The business: products, orders and the e-mails about them. It knows Django and Celery, but no broker."""
