"""The only room that knows one broker from another. Everyone else asks the profile of the broker in use.

redis/ rabbitmq/ sqs/  one folder for each broker; its `profile.py` is how the others see it
base.py                the contract: what a broker has to be able to do
channel.py             what brokers that kombu keeps a connection to have in common
wire.py                what travels
publishing.py          in batches
errors.py              what can go wrong; library_errors.py: how it is told from what a library raises
urls.py                where a broker is
foreign.py             what lies in a queue and is no message
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

#: The brokers there are, by what BROKER calls them. This is the only list.
PROFILES: dict[str, type[BrokerProfile]] = {each.name: each for each in (RedisProfile, RabbitMQProfile, SQSProfile)}

# Before the first connection: kombu then uses the mended classes. Each is to be deleted when its test fails, for then
# kombu has mended it.
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

    Raises one SettingsError with all that is wrong.
    """
    (profile,) = load(profile_class(name), also_known=PROFILES.values(), environ=environ, env_file=env_file)
    return profile.with_url(celery_broker_url) if celery_broker_url else profile
