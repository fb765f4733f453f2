"""Makes `.delay()` durable: a task is a row in the database before it is a message on a broker.

app.py          the Celery app whose tasks are durable
task.py         `.delay()` -> a row
calls/          what is called, and what of a call a row keeps
control.py      `revoke()` acts on the rows
inspection.py   `celery inspect` and `status` answered from the rows
running.py      in the worker: claim -> run -> outcome
success.py      what `on_success` writes, and `done`: one commit
ledger/         the only writer of those rows: a file for each who calls it
lease.py        what runs a task says so, for as long as it does
results.py      `AsyncResult(id)` answered from the rows
heartbeat.py    which processes are alive
instruments.py  hooks for logs, metrics and traces

Who carries the rows to a broker and runs them is in `workers/`.
"""
