"""Measures the cost of durability: this service against plain Celery, side by side in one run, as ratios.

    python -m benchmarks --seconds 5          (make bench-quick)

__main__.py   starts the servers, runs every subject on every broker, prints the table
registry.py   the subjects, and the databases that each is measured on
subject.py    runs one subject in one environment, in a process of its own: a process has one set of settings
enqueue.py, relay.py, worker.py   the subjects, a file each
compare.py    measures both sides in turns; medians of the ratios
plain.py      the plain Celery app that we compare with
"""
