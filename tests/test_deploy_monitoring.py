"""Alerts and dashboard ask for metrics that exist, with labels that they have."""

import json
import re
from typing import Any

import pytest
import yaml

from settings import PROJECT_ROOT

ALERTS = PROJECT_ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = PROJECT_ROOT / "deploy" / "grafana" / "anybroker.json"

#: A metric by its name in an expression.
METRIC = re.compile(r"\b(?:anybroker|django)_\w+")

#: What an expression may call a histogram or counter beside its own name.
SUFFIXES = ("_bucket", "_count", "_sum")


def expressions() -> list[str]:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    targets = [target for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    return [each["expr"] for each in (*rules, *targets)]


@pytest.mark.django_db
def test_every_metric_that_is_asked_for_exists() -> None:
    known = known_metrics()

    for expression in expressions():
        for name in METRIC.findall(expression):
            base = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
            assert base in known or name in known, f"{name} in {expression!r}"


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "cure"}, rule["alert"]
            assert rule["labels"]["severity"] in ("page", "ticket")


def known_metrics() -> set[str]:
    """The names of all metrics, the state's included, as if all servers answered."""
    from django_prometheus import middleware
    from prometheus_client import REGISTRY

    from app.telemetry import metrics
    from app.telemetry.metrics_state import describe_broker, describe_outbox
    from brokers import Depth
    from console.overview import describe_status

    middleware.Metrics.get_instance()
    assert metrics.ENQUEUED
    state: list[Any] = [*describe_outbox(describe_status()), *describe_broker({"default": Depth(1, 1)})]
    state += metrics.state.collect()
    names = {family.name for family in (*state, *REGISTRY.collect())}
    return names | {f"{name}_total" for name in names}
