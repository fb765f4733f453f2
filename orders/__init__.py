"""The business: products, orders and the e-mails about them. It knows Django, REST framework and Celery, but no broker."""
