"""Finds, creates, corrects and checks the queues at SQS."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from brokers.base import TIME_LIMIT_SECONDS, Finding
from brokers.errors import QueueError
from brokers.sqs.errors import SQSErrors

Attributes = Mapping[str, str]

HOW_TO_CREATE: Final = "manage.py relay creates it, unless SQS_CREATE_QUEUES=false: then create it yourself."


def make_client(region: str, endpoint: str | None, **options: Any) -> Any:
    """Return boto's client for SQS in `region`, or at `endpoint`; `options` are botocore's."""
    return Session(region_name=region).client("sqs", endpoint_url=endpoint, config=Config(**options))


@dataclass(frozen=True)
class SQSQueues:
    """The queues whose names begin with `prefix`. Each has a queue for its dead letters, whose name ends in `-dead`."""

    client: Any
    prefix: str
    #: The attributes that a queue is created with. All values are text, as SQS has them.
    attributes: Attributes
    #: How often a message is received before it becomes a dead letter.
    max_receives: int
    #: What to do when a queue does not exist.
    cure: str = HOW_TO_CREATE

    def name(self, queue: str) -> str:
        return f"{self.prefix}{queue}"

    def find_url(self, name: str) -> str | None:
        """Return the URL of the queue called `name` at SQS, or None when there is no such queue."""
        try:
            return str(self.client.get_queue_url(QueueName=name)["QueueUrl"])
        except ClientError as error:
            if not SQSErrors().is_lack_of_queue(error):
                raise
            return None

    def url(self, queue: str) -> str:
        """Return the URL of `queue`. Raises QueueError when it does not exist."""
        if url := self.find_url(self.name(queue)):
            return url
        raise QueueError(f"SQS has no queue {self.name(queue)!r}.", self.cure)

    def read(self, url: str, *names: str) -> dict[str, str]:
        answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ("All",)))
        return dict(answer.get("Attributes", {}))

    def ensure(self, queue: str) -> None:
        """Create `queue` and the queue of its dead letters, or correct their attributes if they exist."""
        name = self.name(queue)
        retention = {"MessageRetentionPeriod": self.attributes["MessageRetentionPeriod"]}
        dead_letters = self.read(self._ensure(f"{name}-dead", retention), "QueueArn")["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": dead_letters, "maxReceiveCount": str(self.max_receives)})
        self._ensure(name, {**self.attributes, "RedrivePolicy": redrive})

    def _ensure(self, name: str, wanted: Attributes) -> str:
        """Return the URL of the queue, which is created or corrected if necessary."""
        url = self.find_url(name)
        if url is None:
            return str(self.client.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"])
        found = self.read(url)
        if any(_comparable(found.get(key)) != _comparable(value) for key, value in wanted.items()):
            self.client.set_queue_attributes(QueueUrl=url, Attributes=wanted)
        return url

    def inspect(self, queue: str) -> Iterator[Finding]:
        """Yield findings about `queue`: whether it exists, its attributes, its dead letters and our permissions."""
        subject = f"queue {self.name(queue)}"
        try:
            url = self.url(queue)
        except QueueError:
            yield Finding("fail", subject, "does not exist.", HOW_TO_CREATE)
            return
        yield from _judge(subject, self.read(url), self.attributes)
        yield from self._inspect_dead_letters(f"{self.name(queue)}-dead")
        yield from self._inspect_permissions(subject, url)

    def _inspect_dead_letters(self, name: str) -> Iterator[Finding]:
        url = self.find_url(name)
        waiting = int(self.read(url, "ApproximateNumberOfMessages")["ApproximateNumberOfMessages"]) if url else 0
        if waiting:
            yield Finding("warn", f"queue {name}", f"holds about {waiting} messages.", "Look at them, then purge it.")

    def _inspect_permissions(self, subject: str, url: str) -> Iterator[Finding]:
        """Try the calls of a worker and of a publisher. The requests are empty, so they change nothing."""
        attempts: dict[str, Callable[[], Any]] = {
            "sqs:SendMessage": lambda: self.client.send_message_batch(QueueUrl=url, Entries=[]),
            "sqs:ReceiveMessage": lambda: self.client.receive_message(QueueUrl=url, MaxNumberOfMessages=0),
            "sqs:DeleteMessage": lambda: self.client.delete_message_batch(QueueUrl=url, Entries=[]),
            "sqs:ChangeMessageVisibility": lambda: self.client.change_message_visibility_batch(
                QueueUrl=url, Entries=[]
            ),
        }
        denied = []
        for action, attempt in attempts.items():
            try:
                attempt()
            except ClientError as error:
                # Any other error says that the request is empty: then we have the permission.
                if SQSErrors().is_denial(error):
                    denied.append(action)
        if denied:
            cure = "Allow them in the policy of the role or user."
            yield Finding("fail", subject, f"We may not {', '.join(denied)}.", cure)
        else:
            yield Finding("ok", subject, f"We may {', '.join(attempts)}.")


def _judge(subject: str, found: Attributes, wanted: Attributes) -> Iterator[Finding]:
    """Yield a finding for each attribute that breaks a promise, or one finding that all are right."""
    findings = []
    visibility, retention = int(found.get("VisibilityTimeout", 0)), int(found.get("MessageRetentionPeriod", 0))
    if visibility <= TIME_LIMIT_SECONDS:
        message = f"VisibilityTimeout {visibility} s: a task may take {TIME_LIMIT_SECONDS} s and would run twice."
        findings.append(Finding("fail", subject, message, f"Set it to {wanted['VisibilityTimeout']} s."))
    if retention < int(wanted["MessageRetentionPeriod"]):
        message = f"MessageRetentionPeriod {retention} s: what waits longer is deleted."
        findings.append(Finding("warn", subject, message, f"Set it to {wanted['MessageRetentionPeriod']} s."))
    if "RedrivePolicy" not in found:
        message = "No RedrivePolicy: a message that cannot be worked on is deleted."
        findings.append(Finding("fail", subject, message, "Give the queue one with a dead-letter queue."))
    if found.get("FifoQueue") == "true":
        findings.append(Finding("fail", subject, "It is a FIFO queue, which kombu cannot feed.", "Use a standard one."))
    yield from findings or [Finding("ok", subject, "Attributes and dead letters are as they should be.")]


def _comparable(value: str | None) -> Any:
    """Return an attribute in a form in which equal policies compare equal, however they are written."""
    if not value or not value.startswith("{"):
        return value
    return {key: str(each) for key, each in json.loads(value).items()}
