"""The processes behind the web: each of them may die at any time, and what it leaves behind is in `outbox/`.

relay.py     due rows -> broker
consumer.py  what a Celery worker reads messages with; survives any of them
  admission.py   which messages it takes, and what of them it believes
  bookkeeper.py  claims and settles for it, many messages at a time
  answers.py     what becomes of the messages that were delivered
  holds.py       what it has claimed
  outcomes.py    how attempts ended
  requests.py    a claim on its way through the pool
  poison.py      keeps those that nobody can read
  watchdog.py    heartbeat; ends a worker that no longer hears anything
  pool.py        Celery's prefork pool, mended
  exits.py       how a process ends that cannot go on
beat.py      a Celery Beat of which several may run
checks.py    whether Celery is told to use all this
"""
