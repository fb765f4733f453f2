"""Makes `.delay()` durable: a task is a row in the database before it is a message on a broker.

app.py      the Celery app whose tasks are durable
task.py     `.delay()` -> a row; in the worker: claim, run, settle
ledger.py   the only writer of those rows
relay.py    due rows -> broker
worker.py   a Celery consumer that survives what a broker may hand it
results.py  `AsyncResult(id)` answered from the rows
"""
