"""TLS to a broker is verified TLS: an unknown certificate is refused, and so is one of another host."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from app.first_run.embedded import EmbeddedBroker
from brokers import BrokerProfile, BrokerRefusedError, load_profile
from tests.harness.tls import Authority, TlsProxy

#: The variables that lead to a port which speaks TLS.
OVER_TLS: dict[str, Callable[[int], dict[str, str]]] = {
    "redis": lambda port: {"REDIS_URL": f"rediss://127.0.0.1:{port}/0"},
    "rabbitmq": lambda port: {"RABBITMQ_URL": f"amqps://guest:guest@127.0.0.1:{port}//"},
    "sqs": lambda port: {"SQS_ENDPOINT_URL": f"https://127.0.0.1:{port}"},
}

#: The variable that names whom to trust. Boto reads its own.
TRUST = {"redis": "REDIS_CA_CERTS", "rabbitmq": "RABBITMQ_CA_CERTS", "sqs": "AWS_CA_BUNDLE"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def profile_over(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BrokerProfile]:
    """Returns the profile of the broker behind a proxy, trusting the certificates in a file."""

    def profile(proxy: TlsProxy, *, trusting: Path | None) -> BrokerProfile:
        name = broker.env["BROKER"]
        trust = {TRUST[name]: str(trusting)} if trusting else {}
        for variable, value in trust.items():
            monkeypatch.setenv(variable, value)
        environ = broker.env | OVER_TLS[name](proxy.port) | trust
        return load_profile(name, environ=environ, env_file=Path(os.devnull))

    return profile


def test_a_certificate_of_a_trusted_authority_is_accepted(
    broker: EmbeddedBroker, authority: Authority, profile_over: Callable[..., BrokerProfile]
) -> None:
    queue = f"test-{uuid4().hex[:12]}"
    with TlsProxy(broker.port, authority.issue("127.0.0.1")) as proxy:
        profile = profile_over(proxy, trusting=authority.ca_file)
        profile.prepare([queue])
        assert profile.depth(queue).waiting == 0


def test_a_certificate_of_an_unknown_authority_is_refused(
    broker: EmbeddedBroker, authority: Authority, tmp_path: Path, profile_over: Callable[..., BrokerProfile]
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with TlsProxy(broker.port, authority.issue("127.0.0.1")) as proxy:
        for trusting in (None, stranger.ca_file):
            profile = profile_over(proxy, trusting=trusting)
            with pytest.raises(BrokerRefusedError, match="is not trusted") as caught:
                profile.prepare(["orders"])
            assert caught.value.cure == profile.trust_hint


def test_a_certificate_of_another_host_is_refused(
    broker: EmbeddedBroker, authority: Authority, profile_over: Callable[..., BrokerProfile]
) -> None:
    with TlsProxy(broker.port, authority.issue("127.0.0.2")) as proxy:
        profile = profile_over(proxy, trusting=authority.ca_file)
        with pytest.raises(BrokerRefusedError, match="is not trusted"):
            profile.prepare(["orders"])
