"""Which broker is chosen and what its variables may be: no server is asked, and no client of one loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import PROFILES, load_profile
from settings import PROJECT_ROOT
from settings.errors import SettingsError

NO_FILE = Path(os.devnull)

#: A URL with a secret that means this broker and no other.
OWN_URLS = {"redis": "redis://user:hunter2@host/1", "rabbitmq": "amqp://user:hunter2@host/orders", "sqs": "sqs://"}


def mistake(name: str, *, url: str | None = None, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_profile(name, celery_broker_url=url, environ=environ, env_file=NO_FILE)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def broker_url(name: str, **environ: str) -> str:
    url: str = load_profile(name, environ=environ, env_file=NO_FILE).connection_settings()["broker_url"]
    return url


def test_an_unknown_broker_is_answered_with_the_choice() -> None:
    expected = "BROKER='rabitmq' is not a known broker: choose redis, rabbitmq or sqs. Did you mean 'rabbitmq'?"
    assert mistake("rabitmq") == expected


@pytest.mark.parametrize("name", PROFILES)
def test_what_holds_for_every_broker_is_set_on_every_broker(name: str) -> None:
    settings = load_profile(name, environ={}, env_file=NO_FILE).celery_settings(["first", "second"])

    assert [queue.name for queue in settings["task_queues"]] == ["first", "second"]
    assert settings["task_default_queue"] == "first"
    assert settings["accept_content"] == ["json"]
    assert settings["broker_connection_max_retries"] is None
    assert not settings["worker_enable_remote_control"]
    assert not settings["task_acks_late"]


def test_settings_load_the_client_of_no_broker() -> None:
    """Each takes a third of a second to load, in every process that starts."""
    every = f"[load_profile(name, environ={{}}).celery_settings(['default']) for name in {list(PROFILES)}]"
    loaded = "print({'redis', 'botocore'} & set(sys.modules))"
    program = f"import sys; from brokers import load_profile; {every}; {loaded}"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=PROJECT_ROOT, text=True) == "set()\n"


@pytest.mark.parametrize("name", PROFILES)
def test_every_variable_is_described(name: str) -> None:
    assert not [variable.name for variable in PROFILES[name].variables() if not variable.description]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("owner", OWN_URLS)
def test_celery_broker_url_has_to_be_of_the_chosen_broker(name: str, owner: str) -> None:
    url = OWN_URLS[owner]
    if name == owner:
        load_profile(name, celery_broker_url=url, environ={}, env_file=NO_FILE)
        return
    message = mistake(name, url=url)
    assert message.startswith("CELERY_BROKER_URL is a")
    assert message.endswith(f"URL but BROKER={name}. Unset one of them, or set BROKER={owner}.")


def test_celery_broker_url_takes_the_place_of_the_brokers_own() -> None:
    url = "rediss://user:hunter2@other:7000/3"
    profile = load_profile("redis", celery_broker_url=url, environ={}, env_file=NO_FILE)
    assert profile.connection_settings()["broker_url"] == url
    assert "CELERY_BROKER_URL" in profile.access_hint


def test_a_mistake_in_celery_broker_url_names_it() -> None:
    message = mistake("redis", url="redis://user:hunter2@host:port/0")
    assert message.startswith("CELERY_BROKER_URL='redis://user:***@host:port/0' has no valid port")


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("redis", "redis://host", "redis://host:6379"),
        ("redis", "redis://:p%40ss@[::1]:7000/2", "redis://:p%40ss@[::1]:7000/2"),
        ("redis", "unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("redis", "unix://:pass@/run/redis.sock", "redis+socket://:pass@/run/redis.sock?virtual_host=0"),
        ("redis", "sentinel://:pass@a/1;sentinel://b:1", "sentinel://:pass@a:26379/1;sentinel://:pass@b:1/1"),
        ("rabbitmq", "amqp://host", "amqp://host:5672"),
        ("rabbitmq", "amqps://u:p@a/orders;amqps://b:1", "amqps://u:p@a:5671/orders;amqps://u:p@b:1/orders"),
        ("rabbitmq", "amqp://u:p@a//;amqp://v:q@b//", "amqp://u:p@a:5672//;amqp://v:q@b:5672//"),
    ],
)
def test_a_url_is_completed_for_kombu(name: str, given: str, taken: str) -> None:
    assert broker_url(name, **{f"{name.upper()}_URL": given}) == taken


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("REDIS_URL", "redis+cluster://user:hunter2@host", "asks for Redis Cluster, but kombu has no transport"),
        ("REDIS_URL", "rediss-cluster://host", "Use a Redis without cluster mode"),
        ("REDIS_URL", "redis://user:hunter2@host?ssl_cert_reqs=none", "has options after the host"),
        ("REDIS_URL", "redis://user:hunter#2@host", "has no valid port"),
        ("REDIS_URL", "redis://a;redis://b", "names several servers"),
        ("REDIS_URL", "redis://host/orders", "has no number of a database"),
        ("REDIS_URL", "redis://", "names no host"),
        ("REDIS_URL", "unix://", "is no path of a socket"),
        ("REDIS_URL", "amqp://user:hunter2@host", "start with redis://, rediss:// or sentinel://"),
        ("REDIS_CA_CERTS", "nowhere.pem", "does not exist"),
        ("REDIS_VISIBILITY_TIMEOUT", "0", "is too small"),
        ("RABBITMQ_URL", "redis://user:hunter2@host", "start with amqp:// or amqps://"),
        ("RABBITMQ_URL", "amqp://a;amqps://b", "mixes schemes"),
        ("RABBITMQ_MANAGEMENT_URL", "amqp://user:hunter2@host", "is no URL of the management plugin"),
        ("SQS_ENDPOINT_URL", "http://user:hunter2@host", "is no address of SQS"),
        ("SQS_ENDPOINT_URL", "http://host/path", "is no address of SQS"),
        ("SQS_WAIT_TIME_SECONDS", "20", "is too large: the most is 15"),
        ("SQS_QUEUE_PREFIX", "any.broker-", "does not have the form"),
    ],
)
def test_a_value_that_will_not_do_is_answered_with_the_reason(variable: str, value: str, reason: str) -> None:
    message = mistake(variable.partition("_")[0].lower(), **{variable: value})
    assert message.startswith(f"{variable}=")
    assert reason in message


def test_keys_stay_out_of_the_url_of_sqs() -> None:
    message = mistake("sqs", url="sqs://AKIAEXAMPLE:hunter2@")
    assert "AWS_SECRET_ACCESS_KEY" in message


def test_sqs_refuses_a_queue_that_it_cannot_name() -> None:
    with pytest.raises(SettingsError, match="QUEUES: SQS has no such names"):
        load_profile("sqs", environ={}, env_file=NO_FILE).celery_settings(["first", "urgent.mails"])


@pytest.mark.parametrize(("name", "url"), [("redis", "rediss://host"), ("rabbitmq", "amqps://host")])
def test_tls_means_verified_tls(name: str, url: str) -> None:
    profile = load_profile(name, environ={f"{name.upper()}_URL": url}, env_file=NO_FILE)
    assert profile.connection_settings()["broker_use_ssl"]


def test_the_names_of_others_have_no_prefix_of_ours() -> None:
    redis = load_profile("redis", environ={"REDIS_KEY_PREFIX": "ours:"}, env_file=NO_FILE)
    assert redis.for_others.connection_settings()["broker_transport_options"]["global_keyprefix"] == ""
    sqs = load_profile("sqs", environ={"SQS_QUEUE_PREFIX": "ours-"}, env_file=NO_FILE)
    assert sqs.for_others.queues.name("theirs") == "theirs"  # type: ignore[attr-defined]


def test_sqs_says_so_if_it_has_no_queue_of_that_name() -> None:
    sqs = load_profile("sqs", environ={}, env_file=NO_FILE)
    with pytest.raises(SettingsError, match=r"OUTBOX_FOREIGN_QUEUES.*their\.fifo"):
        sqs.celery_settings(["default"], ["their.fifo"])
