"""`manage.py doctor`: checks everything that the service's promises depend on.

examination.py   runs the checks side by side and ends at a deadline, even if a check hangs
environment.py  database.py  broker.py  outbox.py  processes.py  mail.py   the checks
"""

from app.doctor import broker, database, environment, mail, outbox, processes
from app.doctor.examination import Check

#: In the order in which they are reported.
CHECKS = [
    Check("environment", environment.examine, "Report this: nothing in it waits for anything."),
    Check("database", database.examine, "The server accepts connections and does not answer: look at it, restart it."),
    Check("broker", broker.examine, "The server accepts connections and does not answer: look at it, restart it."),
    Check("outbox", outbox.examine, "It waits for the database: see there."),
    Check("processes", processes.examine, "It waits for the database: see there."),
    Check("mail", mail.examine, "The server accepts connections and does not answer: look at EMAIL_URL and at it."),
]
