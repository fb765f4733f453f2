"""What is called, and what of a call a row keeps.

call.py     a call becomes a row
options.py  which options are kept, and where
canvas.py   chains, groups and chords, which only tasks without rows can be part of
"""
