"""RabbitMQ.

profile.py     the settings, and what we ask
queue.py       a queue with its dead letters
confirms.py    publishing a batch that is confirmed
server.py      what RabbitMQ shows to a client, held against our promises
management.py  what only its management plugin knows
mended.py      kombu's transports, mended
"""
