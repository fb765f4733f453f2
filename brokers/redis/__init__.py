"""Redis and Valkey.

profile.py     the settings, and what we ask
server.py      what the server says of itself, held against our promises
url.py         what REDIS_URL may be
errors.py      what its client raises
deliveries.py  which messages a worker notes in Redis
mended.py      kombu's transports, mended
"""
