"""What can be seen of the Kubernetes manifests without a cluster."""

from pathlib import Path
from typing import Any

import yaml

from brokers import PROFILES
from settings import PROJECT_ROOT
from settings.outbox import OutboxSettings
from settings.service import ServiceSettings
from settings.web import WebSettings

KUBERNETES = PROJECT_ROOT / "deploy" / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def container(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = documents(KUBERNETES / "base" / f"{kind}.yaml")[0]["spec"]["template"]["spec"]
    return dict(found["containers"][0])


def literals(path: Path) -> list[str]:
    [generator] = documents(path)[0]["configMapGenerator"]
    return [literal.partition("=")[0] for literal in generator["literals"]]


def test_each_process_runs_the_command_of_the_procfile_and_is_probed() -> None:
    procfile = (PROJECT_ROOT / "Procfile").read_text("utf-8").splitlines()
    for line in procfile:
        name, _, command = line.partition(": exec ")
        found = container(name)
        assert [word for word in found["command"] if word not in ("--bind", "0.0.0.0:8000")] == command.split()
        if name == "web":
            assert found["livenessProbe"]["httpGet"]["path"] == "/health/live"
            assert found["readinessProbe"]["httpGet"]["path"] == "/health/ready"
        else:
            assert found["livenessProbe"]["exec"]["command"] == ["python", "-m", "settings.probe", name]
        assert found["securityContext"]["readOnlyRootFilesystem"]


def test_each_broker_has_an_overlay_and_every_setting_exists() -> None:
    known = {each.name for kind in (ServiceSettings, OutboxSettings, WebSettings) for each in kind.variables()}
    known |= {each.name for profile in PROFILES.values() for each in profile.variables()}
    assert {path.name for path in (KUBERNETES / "overlays").iterdir()} == set(PROFILES)
    for broker in PROFILES:
        path = KUBERNETES / "overlays" / broker / "kustomization.yaml"
        assert f"- BROKER={broker}\n" in path.read_text("utf-8")
        assert known.issuperset([*literals(path), *literals(KUBERNETES / "base" / "kustomization.yaml")])
