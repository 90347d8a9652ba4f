"""The files of `monitoring/` and the services that read them; the expressions are checked against a live `/metrics`."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compose_files import REPOSITORY, fill_in, read_compose
from tests.monitoring_files import ALERTS, MONITORING, PROMETHEUS, alert_rules, dashboard, panels, read_yaml
from tests.promql import Expression

SERVICES: dict[str, dict[str, Any]] = read_compose()["services"]


def mounts(service: str) -> dict[str, Path]:
    """Paths in the container, and the folders of the repository that are there."""
    volumes = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    return {inside: REPOSITORY / outside for outside, inside, *_ in volumes if outside.startswith("./")}


def file_in_container(service: str, path: str) -> Path:
    [(inside, outside)] = [(inside, outside) for inside, outside in mounts(service).items() if path.startswith(inside)]
    return outside / path.removeprefix(inside).lstrip("/")


def run_entrypoint(service: str, replacements: dict[str, str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a service's shell line as Compose would hand it to sh, with some paths of the container replaced."""
    command = [fill_in(part, {}) for part in SERVICES[service]["entrypoint"]]
    for old, new in replacements.items():
        assert command[2].count(old) >= 1
        command[2] = command[2].replace(old, new)
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return finished.returncode, finished.stdout, finished.stderr


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_monitoring_runs_only_where_it_is_asked_for_and_reads_this_folder_only(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == ["monitoring"]
    assert all(volume.endswith(":ro") for volume in service["volumes"] if volume.startswith("./"))
    assert all(outside.is_relative_to(MONITORING) and outside.is_dir() for outside in mounts(name).values())
    assert "queue" not in service["networks"]


def test_prometheus_reads_its_files_and_reaches_every_api_container() -> None:
    options = dict(argument.split("=", 1) for argument in SERVICES["prometheus"]["command"])
    assert file_in_container("prometheus", options["--config.file"]) == PROMETHEUS
    configuration = read_yaml("prometheus/prometheus.yaml")
    assert [PROMETHEUS.parent / name for name in configuration["rule_files"]] == [ALERTS]
    [job] = configuration["scrape_configs"]
    [found] = job["dns_sd_configs"]
    assert (found["names"], found["port"], found["type"]) == (["api"], int(read_compose()["x-settings"]["PORT"]), "A")
    assert set(SERVICES["prometheus"]["networks"]) & set(SERVICES["api"]["networks"])
    assert job["authorization"]["credentials_file"] in SERVICES["prometheus"]["entrypoint"][2]


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({}, ""),
        ({"API_KEYS": "first-key,second-key"}, "first-key"),
        ({"API_KEYS": "only-key"}, "only-key"),
        ({"API_KEYS": "first-key,second-key", "METRICS_API_KEY": "its-own"}, "its-own"),
    ],
)
def test_prometheus_shows_a_key_of_the_server(tmp_path: Path, environment: dict[str, str], key: str) -> None:
    program = tmp_path / "prometheus"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    code, output, errors = run_entrypoint(
        "prometheus", {"/tmp/": f"{tmp_path}/"}, {"PATH": f"{tmp_path}:/usr/bin:/bin", **environment}  # noqa: S108
    )  # fmt: skip
    assert (code, errors) == (0, "")
    written = tmp_path / "api-key"
    assert (written.read_text(), written.stat().st_mode & 0o077) == (key, 0)
    assert key not in output or not key


def test_grafana_does_not_start_without_a_password(tmp_path: Path) -> None:
    program = tmp_path / "run.sh"
    program.write_text("#!/bin/sh\necho started\n")
    program.chmod(0o755)
    replaced = {"/run.sh": str(program)}
    code, output, errors = run_entrypoint("grafana", replaced, {"PATH": "/usr/bin:/bin"})
    assert (code, output) == (2, "")
    assert "set GRAFANA_PASSWORD" in errors
    given = {"PATH": "/usr/bin:/bin", "GF_SECURITY_ADMIN_PASSWORD": "x"}
    assert run_entrypoint("grafana", replaced, given) == (0, "started\n", "")
    password = SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert (fill_in(password, {}), fill_in(password, {"GRAFANA_PASSWORD": "given"})) == ("", "given")


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    [source] = read_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert set(SERVICES["grafana"]["networks"]) & set(SERVICES["prometheus"]["networks"])
    [provider] = read_yaml("grafana/provisioning/dashboards/premises.yaml")["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert file_in_container("grafana", home).is_file()
    assert file_in_container("grafana", "/etc/grafana/provisioning/datasources/prometheus.yaml").is_file()


def test_the_dashboard_has_its_rows_and_leaves_the_data_source_to_the_reader() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Traffic", "Latency by stage", "Queue", "Workers", "Cache", "Errors"]
    variables = {variable["name"]: variable["type"] for variable in dashboard()["templating"]["list"]}
    assert variables == {"datasource": "datasource", "route": "query"}
    sources = {target["datasource"]["uid"] for panel in panels() for target in (panel, *panel["targets"])}
    assert sources == {"${datasource}"}


def test_no_two_panels_share_an_id_or_a_place() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places = [
        (column, line)
        for position in (panel["gridPos"] for panel in everything)
        for column in range(position["x"], position["x"] + position["w"])
        for line in range(position["y"], position["y"] + position["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(column for column, _ in places) < 24


def test_a_legend_names_only_labels_that_its_expression_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert named <= Expression(target["expr"].replace("$route", "")).grouping, (panel["title"], target["expr"])


def test_an_alert_says_what_happened_and_what_to_do() -> None:
    rules = alert_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 9
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]


@pytest.mark.parametrize("arguments", [("config", "--syntax-only", str(PROMETHEUS)), ("rules", str(ALERTS))])
def test_promtool_accepts_the_files(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian's package prometheus) is not installed")
    subprocess.run([promtool, "check", *arguments], check=True, capture_output=True)
