"""What the outbox remembers. Only `ledger/` writes messages; `workers/poison.py` and `heartbeat.py` write theirs."""

import uuid

from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7


def new_message_id() -> uuid.UUID:
    """A time-ordered id (UUID version 7): new rows lie side by side in the index."""
    return uuid7()


class Message(models.Model):
    """One task that must happen."""

    class State(models.TextChoices):
        PENDING = "pending"
        """Waits for its time, and then for the relay."""
        PUBLISHED = "published"
        """The broker has been given its id."""
        RUNNING = "running"
        """A worker holds the lease."""
        DONE = "done"
        DEAD = "dead"
        """Will not be tried again unless someone replays it; `last_error` says why."""
        DISCARDED = "discarded"
        """Someone decided that it need not happen."""

    id = models.UUIDField(primary_key=True, default=new_message_id, editable=False)
    """Message id = Celery task id = the `Message-ID` of the e-mail."""
    task = models.CharField(max_length=255)
    arguments = models.TextField()
    """`[args, kwargs]` in Celery's own JSON, which keeps UUID, Decimal and datetime."""
    headers = models.TextField(default="{}")
    """What the sender put into the headers (trace context, for one), restored in `self.request.headers`."""
    options = models.TextField(blank=True, default="", db_default="")
    """What else the call said (limits, stamps, whose child it is), in Celery's JSON; empty if nothing."""
    queue = models.CharField(max_length=80)
    priority = models.PositiveSmallIntegerField(default=0)
    """0 to 9; 9 goes first."""
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    wanted_at = models.DateTimeField(db_default=Now())
    """Since when it should have run: its `eta`, or when it was enqueued, is to be tried again, or was replayed."""
    due_at = models.DateTimeField(db_default=Now())
    """When the relay must (re)publish it; while running, when the lease ends."""
    expires_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True)
    """The fence: a random token of the last claim. Only who holds it may settle; a replay takes it away."""
    worker = models.CharField(max_length=255, blank=True, db_default="")
    """The node name of the worker that claimed it last."""
    claimed_at = models.DateTimeField(null=True, blank=True)
    begun_at = models.DateTimeField(null=True, blank=True)
    """When its last attempt began; null while it is claimed and waits for a place in the worker."""
    refused_at = models.DateTimeField(null=True, blank=True)
    """Since when workers have refused it; null once one has taken it."""
    attempts = models.PositiveIntegerField(default=0)
    """How often it was begun."""
    max_attempts = models.PositiveIntegerField(null=True, blank=True)
    """After how many attempts it is dead; null: never."""
    replayed_after = models.PositiveIntegerField(default=0)
    """How many attempts had been made when it was last replayed; only those after count towards `max_attempts`."""
    publishes = models.PositiveIntegerField(default=0)
    """How often the broker was given it since it was last due; each time it has longer before it counts as lost."""
    last_error = models.TextField(blank=True, default="")
    occurrence = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - null is in no index
    """Schedule name and time of a periodic task: several beats may try, one row is made."""
    history = models.TextField(blank=True, default="")
    """What became of each attempt that failed, and who replayed or discarded it and when, a line each; bounded."""
    created_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    """Set once it is done or dead; null is what 'unfinished' means to the indexes."""

    class Meta:
        constraints = [
            # Partial: most messages have none, and need no entry.
            models.UniqueConstraint(
                "occurrence", name="outbox_occurrence", condition=models.Q(occurrence__isnull=False)
            ),
        ]
        indexes = [
            # What is due, most urgent first: costs as much as there is due, however much is stored.
            models.Index(
                "queue", "priority", "due_at", name="outbox_due", condition=models.Q(finished_at__isnull=True)
            ),
            # How much a queue has in flight, longest published first: workers take it in about this order, so the
            # entries of what has passed lie before all that is there.
            models.Index("queue", "published_at", name="outbox_in_flight", condition=models.Q(state="published")),
            # What waits for someone's decision, newest first: little, however much was done.
            models.Index("finished_at", name="outbox_dead", condition=models.Q(state="dead")),
            # What may be pruned; dead letters, which may stay for ever, are not in the way.
            models.Index("finished_at", name="outbox_finished", condition=models.Q(state__in=["done", "discarded"])),
        ]

    def __str__(self) -> str:
        return f"{self.task}[{self.id}] {self.state}"

    @property
    def has_expired(self) -> bool:
        """Whether it is dead because it expired before it was begun."""
        ended_late = self.expires_at and self.finished_at and self.expires_at <= self.finished_at
        return self.state == self.State.DEAD and self.begun_at is None and bool(ended_late)


class Pause(models.Model):
    """A queue or a task of which nothing new begins until someone resumes it."""

    class Kind(models.TextChoices):
        QUEUE = "queue"
        TASK = "task"

    kind = models.CharField(max_length=5, choices=Kind)
    name = models.CharField(max_length=255)
    by = models.CharField(max_length=255)
    since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint("kind", "name", name="outbox_paused_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}, paused by {self.by}"


class PoisonMessage(models.Model):
    """A broker message that no worker could read: foreign, garbled, or for a task nobody knows."""

    key = models.CharField(max_length=64, primary_key=True)
    """SHA-256 of queue, headers and body, so that a redelivered message is kept once."""
    queue = models.CharField(max_length=80, blank=True)
    reason = models.TextField()
    headers = models.TextField(blank=True)
    body = models.BinaryField()
    """The first 64 KiB, as they came."""
    size = models.PositiveIntegerField()
    """Bytes of the whole body."""
    times = models.PositiveIntegerField(default=1)
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.reason} ({self.size} bytes from {self.queue or 'an unknown queue'})"


class Heartbeat(models.Model):
    """A process of the service that is, or was, alive. The same on every broker."""

    name = models.CharField(max_length=255, primary_key=True)
    """Kind, host and process id: `worker:web-1:4711`."""
    kind = models.CharField(max_length=10)
    details = models.JSONField(default=dict)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
