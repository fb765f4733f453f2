"""Amazon SQS, and emulators of it.

profile.py     the contract of `brokers/base.py`
settings.py    the settings
queues.py      finds, creates, corrects and checks the queues
predefined.py  tells kombu where the queues are
publishing.py  publishing a batch
errors.py      reads the errors of boto
mended.py      kombu's transport, mended
"""
