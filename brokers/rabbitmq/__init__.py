"""RabbitMQ.

profile.py     the settings, and the contract of `brokers/base.py`
queue.py       a queue with its dead letters
confirms.py    publishing a batch that is confirmed
server.py      checks that any client can make
management.py  checks that need the management plugin
mended.py      kombu's transports, mended
"""
