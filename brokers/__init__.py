"""The only room that tells brokers apart. All other rooms use the profile of the broker that BROKER names.

redis/ rabbitmq/ sqs/  one folder for each broker; the other rooms use its `profile.py` only
base.py                the contract that every profile keeps
channel.py             the common part of brokers that kombu keeps a connection to
wire.py                the content of a message
publishing.py          publishing a batch
errors.py              our errors; library_errors.py makes them of what a library raises
urls.py                parsing and checking the URL of a broker
foreign.py             items in a queue that are no messages of Celery's
"""

from collections.abc import Mapping
from pathlib import Path

from kombu.transport import TRANSPORT_ALIASES

from brokers.base import BrokerProfile, Depth, Finding
from brokers.errors import BrokerError, BrokerRefusedError, BrokerUnreachableError, QueueError
from brokers.rabbitmq.profile import RabbitMQProfile
from brokers.redis.profile import RedisProfile
from brokers.sqs.profile import SQSProfile
from settings.base import load
from settings.errors import SettingsError, choose_from

__all__ = [
    "PROFILES",
    "BrokerError",
    "BrokerProfile",
    "BrokerRefusedError",
    "BrokerUnreachableError",
    "Depth",
    "Finding",
    "QueueError",
    "load_profile",
    "profile_class",
]

#: All brokers, by their name in BROKER. There is no other list of them.
PROFILES: dict[str, type[BrokerProfile]] = {each.name: each for each in (RedisProfile, RabbitMQProfile, SQSProfile)}

# Done before the first connection, so that kombu uses the mended classes. When the test of one fails, kombu has mended
# the fault itself: delete that class.
for _profile in PROFILES.values():
    TRANSPORT_ALIASES.update(_profile.transports)


def profile_class(name: str) -> type[BrokerProfile]:
    """Return the profile that BROKER=`name` selects. Raises SettingsError with the choice and the nearest match."""
    try:
        return PROFILES[name]
    except KeyError:
        raise SettingsError(f"BROKER={name!r} is not a known broker: {choose_from(name, PROFILES)}") from None


def load_profile(
    name: str,
    *,
    celery_broker_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> BrokerProfile:
    """Return the profile of broker `name`, filled from the environment; `celery_broker_url` overrides its URL.

    Raises one SettingsError with all mistakes.
    """
    (profile,) = load(profile_class(name), also_known=PROFILES.values(), environ=environ, env_file=env_file)
    return profile.with_url(celery_broker_url) if celery_broker_url else profile
