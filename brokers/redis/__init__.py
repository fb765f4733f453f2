"""Redis and Valkey.

profile.py     the settings, and the contract of `brokers/base.py`
server.py      checks of the server, by what INFO says
url.py         parsing REDIS_URL
errors.py      reads the errors of redis-py
deliveries.py  which messages a worker records in Redis as taken
mended.py      kombu's transports, mended
"""
