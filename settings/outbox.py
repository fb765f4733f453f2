"""How the outbox behaves. The defaults suit most services; docs/scaling.md says when to change them."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from settings.base import EnvSettings

#: The priorities from this one up are urgent: a part of the window is kept for them.
URGENT_PRIORITY = 5

#: How much of the window is kept for urgent messages, so that they do not wait until the workers have made room.
URGENT_SHARE = 0.1


class OutboxSettings(EnvSettings):
    """How the outbox publishes, leases and remembers."""

    model_config = SettingsConfigDict(env_prefix="OUTBOX_")

    lease_seconds: float = Field(20, gt=0)
    """Seconds that a lease lasts unless it is renewed. When a worker is killed, its tasks are run again after this
    time."""
    renew_seconds: float = Field(5, gt=0)
    """Seconds between two renewals of a lease; a quarter of the lease leaves room for a slow database."""
    lost_after_seconds: float = Field(30, gt=0)
    """Seconds after which a published message that no worker has claimed counts as lost; doubles each time."""
    max_in_flight: int = Field(1000, gt=0)
    """The most messages of a queue that the broker holds; the others wait in the database, by priority. A tenth of
    them is kept for urgent messages, of priority 5 or higher."""
    ageing_seconds: float = Field(60, gt=0)
    """Seconds of waiting that count as much as one level of priority, so that none waits for ever behind others."""
    batch_size: int = Field(200, gt=0)
    """How many messages the relay publishes in one batch."""
    busy_sleep_seconds: float = Field(0.02, gt=0)
    """Seconds the relay sleeps between two looks while there is work."""
    idle_sleep_seconds: float = Field(0.2, gt=0)
    """The most seconds that the relay sleeps when nothing was due. Less means lower latency and more idle queries."""
    keep_days: float = Field(7, ge=0)
    """Days that messages which are done or discarded are kept before they are pruned."""
    dead_keep_days: float | None = Field(None, ge=0)
    """Days that dead letters are kept before they are pruned; unset: until someone decides."""
    poison_keep_days: float = Field(30, ge=0)
    """Days that messages which nobody could read are kept after they last came."""
    refused_days: float = Field(3, gt=0)
    """Days after which a message that every worker refuses is dead; for example, because no worker knows its task."""
    heartbeat_seconds: float = Field(10, gt=0)
    """Seconds between two heartbeats of a worker, relay or beat in the database."""
    heartbeat_directory: Path | None = None
    """Directory in which each worker, relay and beat also keeps its heartbeat as a file, for `python -m
    settings.probe`. The file is named after the kind of process, so several workers on one host need a directory
    each."""
    deaf_after_seconds: float = Field(60, gt=0)
    """Seconds after which an idle worker that receives nothing although messages wait ends itself, to be restarted."""

    @property
    def kept_for_urgent(self) -> int:
        """The part of the window that is kept for urgent messages."""
        return int(self.max_in_flight * URGENT_SHARE)

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"OUTBOX_RENEW_SECONDS={self.renew_seconds:g} must be at most half of "
                f"OUTBOX_LEASE_SECONDS={self.lease_seconds:g}, or one slow renewal loses a lease."
            )
        return self
