"""`manage.py doctor`: is everything there that the service's promises rest on, and does it work right now?

examination.py   runs checks side by side, and is done by a deadline whatever hangs
environment.py  database.py  broker.py  outbox.py  processes.py  mail.py   what is looked at
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
