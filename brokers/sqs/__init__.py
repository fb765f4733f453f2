"""Amazon SQS, and emulators of it.

profile.py     what we ask, and what Celery is told
settings.py    what can be set
queues.py      the queues: found, made, mended and judged
predefined.py  where kombu finds them
publishing.py  publishing a batch
errors.py      what boto raises
mended.py      kombu's transport, mended
"""
