"""Amazon SQS, or an emulator of it. There is no server to run, and every request is paid for."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kombu import Message
from pydantic import PrivateAttr

from brokers.base import OTHERS_CURE, STEP_SECONDS, Depth, Finding
from brokers.errors import BrokerRefusedError
from brokers.library_errors import broker_errors
from brokers.sqs.predefined import FOREIGN_NAME, QUEUE_NAME, PredefinedQueues
from brokers.sqs.publishing import SAFE_BYTES, publish_to_sqs, size_problem
from brokers.sqs.settings import SQSSettings
from brokers.wire import TaskMessage
from settings.errors import SettingsError

if TYPE_CHECKING:
    from brokers.sqs.queues import SQSQueues

DAY_SECONDS: Final = 86_400


class SQSProfile(SQSSettings):
    """Settings for BROKER=sqs. Credentials are found as every AWS program finds them: AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the role of the container or of the machine."""

    _urls: dict[str, str] = PrivateAttr(default_factory=dict)
    _most_bytes: dict[str, int] = PrivateAttr(default_factory=dict)

    def celery_settings(self, queues: Sequence[str], foreign: Sequence[str] = ()) -> dict[str, Any]:
        if misnamed := [queue for queue in queues if not QUEUE_NAME.fullmatch(queue)]:
            names = ", ".join(misnamed)
            raise SettingsError(f"QUEUES: SQS has no such names ({names}). Use letters, digits, - and _, 35 at most.")
        if misnamed := [queue for queue in foreign if not FOREIGN_NAME.fullmatch(queue)]:
            raise SettingsError(
                f"OUTBOX_FOREIGN_QUEUES: SQS has no such names ({', '.join(misnamed)}), or it is a FIFO queue, which "
                "Celery cannot feed. Write the name of a standard queue as AWS shows it: letters, digits, - and _."
            )
        settings = super().celery_settings(queues, foreign)
        settings["broker_transport_options"] |= {
            "queue_name_prefix": self.queue_prefix,
            # kombu then does not list queues (many accounts lack that right), nor create one without dead letters.
            "predefined_queues": PredefinedQueues(self.queue_prefix, queues, self.find_queue_url),
        }
        return settings

    def connection_settings(self) -> dict[str, Any]:
        endpoint = urlsplit(self.endpoint or "https://")
        return {
            # Without keys in the URL, boto looks for them in all the usual places.
            "broker_url": f"sqs://{endpoint.netloc}",
            "broker_transport_options": {
                "region": self.region,
                "is_secure": endpoint.scheme == "https",
                "visibility_timeout": self.visibility_timeout,
                "wait_time_seconds": self.wait_time_seconds,
                "polling_interval": self.polling_interval_seconds,
                "client-config": self._client_options(self.connect_timeout_seconds, self.read_timeout_seconds),
            },
            "worker_prefetch_multiplier": self.prefetch_multiplier,
        }

    @staticmethod
    def _client_options(connect_timeout: float, read_timeout: float) -> dict[str, Any]:
        # One attempt: the relay and the workers try again by themselves.
        retries = {"total_max_attempts": 1}
        return {"connect_timeout": connect_timeout, "read_timeout": read_timeout, "retries": retries}

    @cached_property
    def queues(self) -> "SQSQueues":
        """The queues of this service, with the attributes that the settings say."""
        from brokers.sqs.queues import HOW_TO_CREATE, SQSQueues, make_client  # not above: it loads boto

        options = self._client_options(
            min(self.connect_timeout_seconds, STEP_SECONDS), min(self.read_timeout_seconds, STEP_SECONDS)
        )
        return SQSQueues(
            client=make_client(self.region, self.endpoint, **options),
            prefix=self.queue_prefix,
            attributes={
                "VisibilityTimeout": str(self.visibility_timeout),
                "MessageRetentionPeriod": str(self.retention_days * DAY_SECONDS),
            },
            max_receives=self.max_receives,
            cure=OTHERS_CURE if self._is_for_others else HOW_TO_CREATE,
        )

    def find_queue_url(self, queue: str) -> str:
        """Ask SQS for the URL of `queue`. A missing queue is created if SQS_CREATE_QUEUES allows it."""
        with broker_errors(self):
            if self.create_queues and self.queues.find_url(self.queues.name(queue)) is None:
                self.queues.ensure(queue)
            return self.queues.url(queue)

    def queue_url(self, queue: str) -> str:
        """Return the URL of `queue`. It never changes, so SQS is asked only once."""
        if queue not in self._urls:
            self._urls[queue] = self.find_queue_url(queue)
        return self._urls[queue]

    def prepare(self, queues: Sequence[str]) -> None:
        provide = self.queues.ensure if self.create_queues else self.queues.url
        with broker_errors(self):
            for queue in queues:
                provide(queue)

    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        with broker_errors(self):
            most_bytes = self._most_bytes_of(queue) if self._is_for_others else SAFE_BYTES
            publish_to_sqs(self.queues.client, self.queue_url(queue), queue, messages, most_bytes=most_bytes)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        if messages:
            channel: Any = messages[0].channel
            channel.acknowledge_all(messages)

    def refuses(self, queue: str, message: TaskMessage) -> str:
        return size_problem(queue, message, self._most_bytes_of(queue))

    def _most_bytes_of(self, queue: str) -> int:
        """The largest message that a queue takes: what it says itself, for that can be changed."""
        if queue not in self._most_bytes:
            name = "MaximumMessageSize"
            try:
                with broker_errors(self):
                    found = self.queues.read(self.queue_url(queue), name).get(name)
            except BrokerRefusedError:  # to send is allowed, to ask is not
                found = None
            self._most_bytes[queue] = int(found or SAFE_BYTES)
        return self._most_bytes[queue]

    def depth(self, queue: str) -> Depth:
        """The numbers are approximate: they may lag for up to a minute after the last message."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        with broker_errors(self):
            counts = self.queues.read(self.queue_url(queue), *names)
        return Depth(*(int(counts[name]) for name in names))

    def _inspect(self, queues: Sequence[str]) -> Iterator[Finding]:
        with broker_errors(self):
            for number, queue in enumerate(queues):
                findings = list(self.queues.inspect(queue))
                if number == 0:
                    yield Finding("ok", "reachable", self.address)
                yield from findings
