"""What can be seen of the compose files without Docker; `make compose-test` runs them."""

from pathlib import Path

import pytest
import yaml

from brokers import PROFILES

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / f"compose.{broker}.yml" for broker in PROFILES]

#: Two parts are the same in every file: how our own containers run, and all services but the broker.
APP, BROKER_SERVICE = "\nx-app: &app\n", "\nservices:\n"
THE_REST = "# From here to the end the three compose files are the same"


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def text(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text("utf-8")


def common_parts(text: str) -> tuple[str, str]:
    app = text.partition(APP)[2].partition(BROKER_SERVICE)[0]
    rest = text.partition(THE_REST)[2]
    assert app
    assert rest
    return app, rest


def test_the_files_differ_in_nothing_but_the_broker() -> None:
    assert len({common_parts(path.read_text("utf-8")) for path in FILES}) == 1


def test_each_file_starts_its_own_broker_under_the_name_that_hints_use() -> None:
    for path, profile in zip(FILES, PROFILES.values(), strict=True):
        text = path.read_text("utf-8")
        assert f"BROKER: {profile.name}\n" in text
        assert f"{BROKER_SERVICE}  {profile.compose_service}:\n" in text or f"\n  {profile.compose_service}:\n" in text


def test_ports_are_published_to_this_machine_only(text: str) -> None:
    ports = [line for line in text.splitlines() if line.strip().startswith("ports:")]
    assert len(ports) == 3, "the broker's, web's and Mailpit's"
    assert all(line.count('"127.0.0.1:') == line.count('"') // 2 for line in ports)


def test_no_password_is_in_the_file(text: str) -> None:
    assert "PASSWORD:" not in text
    assert "guest:guest" not in text
    assert "SECRET_KEY: " not in text


def test_each_process_is_looked_at(text: str) -> None:
    services = yaml.safe_load(text)["services"]
    probed = {name: services[name]["healthcheck"]["test"] for name in ("web", "relay", "worker", "beat")}

    assert "/health/live" in probed.pop("web")[-1]
    assert probed == {name: ["CMD", "python", "-m", "settings.probe", name] for name in probed}
    assert services["worker"]["environment"]["OUTBOX_HEARTBEAT_DIRECTORY"].startswith("/tmp/")


def test_the_image_alone_is_production_and_the_compose_files_are_development_unless_told_otherwise(text: str) -> None:
    image = (ROOT / "Dockerfile").read_text("utf-8")
    assert image.index("collectstatic") < image.index("\nENV ENVIRONMENT=production\n")
    assert "\n    ENVIRONMENT: ${ENVIRONMENT:-development}\n" in text
