"""The processes behind the web: each of them may die at any time, and what it leaves behind is in `outbox/`.

relaying/    due rows -> broker
consumer.py  what a Celery worker reads messages with; survives any of them
  admission.py   which messages it takes, and what of them it believes
  bookkeeping/   claims and settles for it, many messages at a time
  requests.py    a claim on its way through the pool
  poison.py      keeps those that nobody can read
  watchdog.py    heartbeat; ends a worker that no longer hears anything
  pool.py        Celery's prefork pool, mended
  exits.py       how a process ends that cannot go on
beat.py      a Celery Beat of which several may run; clock.py: when a schedule is due
checks.py    whether Celery is told to use all this
testing.py   a relay and a worker inside of a project's own tests
"""
