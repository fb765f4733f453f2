"""A Django app of tasks that get a worker into trouble."""
