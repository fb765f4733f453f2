"""How a worker's main process keeps the ledger.

bookkeeper.py  a thread: claims what was delivered, settles what has ended, many at a time
answers.py     what becomes of each message that a broker has handed out
holds.py       what the worker has claimed, and how much of it should be at hand
terminated.py  ends what was revoked while it runs
outcomes.py    how outcomes are settled
"""
