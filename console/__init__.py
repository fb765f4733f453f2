"""Where people see what happens, and act on it. What makes a task durable is in `outbox/`; it does not need this room.

overview.py      what people ask of the outbox
presentation.py  how the answers look, in a terminal and in the admin
admin.py         the outbox in the back office
management/      `manage.py outbox`
"""
