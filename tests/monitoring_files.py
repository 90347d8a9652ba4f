"""The files of `monitoring/`, and the expressions in them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.compose_files import REPOSITORY

MONITORING = REPOSITORY / "monitoring"
DASHBOARD = MONITORING / "grafana/dashboards/premises.json"
PROMETHEUS = MONITORING / "prometheus/prometheus.yaml"
ALERTS = MONITORING / "prometheus/alerts.yaml"


def read_yaml(name: str) -> dict[str, Any]:
    """A file of the folder."""
    parsed: dict[str, Any] = yaml.safe_load((MONITORING / name).read_text())
    return parsed


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    parsed: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return parsed


def panels() -> list[dict[str, Any]]:
    """Those that show something, without the rows' titles."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alert_rules() -> list[dict[str, Any]]:
    """All rules, of every group."""
    return [rule for group in read_yaml("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and the expression; Grafana's variables are filled in."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], filled_in(target["expr"])
    for rule in alert_rules():
        yield rule["alert"], rule["expr"]


def filled_in(expression: str) -> str:
    """With a value for each variable of the dashboard."""
    return re.sub(r"\$\{?route\}?", ".*", expression.replace("$__rate_interval", "1m"))
