"""Where people see what happens, and act on it. What makes a task durable is in `outbox/`; it does not need this room.

overview.py      what people ask of the outbox
presentation.py  how the answers look, in a terminal, in the admin and on the console
admin.py         the outbox in the back office
management/      `manage.py outbox`
views.py         the console's pages
panels.py        what a project adds to it about its own business
live.py          the part of the console that changes: what it keeps for a moment, so that it costs little
page.py          what it shows, read at one moment
broker.py        what the broker says of itself, asked in the background
last_hour/       throughput and latency, minute by minute, and where their bars are
static/          style, script, and htmx as it was published (0BSD)
"""
