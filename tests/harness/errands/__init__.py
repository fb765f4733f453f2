"""A Django app of errands that tests send the service on."""
