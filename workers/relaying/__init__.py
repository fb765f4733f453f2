"""Due rows -> broker.

relay.py    looks at every queue again and again
lane.py     one queue on its way
foreign.py  one that belongs to workers that are not ours
news.py     which tasks workers know, and what is paused
"""
