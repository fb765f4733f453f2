"""What durability costs: this service and plain Celery side by side, in one run, as ratios.

    python -m benchmarks --seconds 5          (make bench-quick)

__main__.py   starts the servers, runs every subject on every broker, prints the table
registry.py   the subjects there are, and on which brokers and databases each is measured
subject.py    runs one subject in one environment; a process of its own, because settings are a process's
enqueue.py, relay.py, worker.py   the subjects, a file each
compare.py    rounds that take turns, and the medians of their ratios
plain.py      the plain Celery app that we are compared with
"""
