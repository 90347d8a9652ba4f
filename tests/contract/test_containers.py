"""What the compose files and Dockerfiles promise, read from the files themselves."""

import json
import re
import shutil
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings
from tests.compose_files import (
    COMPOSE_FILE,
    DOCKERFILES,
    GPU_FILE,
    REPOSITORY,
    Stage,
    final_value,
    lineage,
    read_compose,
    read_dockerfile,
    variables_in,
)

SERVICES: dict[str, dict[str, Any]] = read_compose()["services"]
IMAGES = [("Dockerfile.api", "api"), ("Dockerfile.api", "flower"), ("Dockerfile.worker", "worker")]
STAGES = {path.name: read_dockerfile(path) for path in DOCKERFILES}
EXACT_VERSION = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")
EXAMPLE = (REPOSITORY / ".env.example").read_text()


def built_stage(service: dict[str, Any]) -> tuple[dict[str, Stage], str]:
    stages = STAGES[service["build"]["dockerfile"]]
    return stages, service["build"].get("target", list(stages)[-1])


def environment_of(service: dict[str, Any]) -> dict[str, str | None]:
    environment: dict[str, str | None] = service.get("environment", {})
    return environment


def test_only_the_gateway_is_published_and_pages_for_operators_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "gateway": ["${PUBLISH_ADDRESS:-0.0.0.0}:${PORT:-8000}:8080"],
        "flower": ["127.0.0.1:${FLOWER_PORT:-5555}:5555"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }


def test_flower_runs_only_where_it_is_asked_for_and_knows_no_password_by_itself() -> None:
    assert SERVICES["flower"]["profiles"] == ["flower"]
    assert environment_of(SERVICES["flower"])["FLOWER_BASIC_AUTH"] is None
    assert "FLOWER_BASIC_AUTH=" not in (REPOSITORY / "Dockerfile.api").read_text()
    command = json.loads(final_value(*built_stage(SERVICES["flower"]), "CMD") or "null")
    assert command[2:4] == ["api.commands.main", "flower"]  # it ends where no password is set
    assert {name for name, service in SERVICES.items() if "profiles" not in service} >= {
        "redis",
        "worker",
        "api",
        "gateway",
    }


def test_the_gateway_cannot_reach_redis_and_the_queue_has_no_way_out() -> None:
    networks = read_compose()["networks"]
    assert SERVICES["redis"]["networks"] == ["queue"]
    assert "queue" not in SERVICES["gateway"]["networks"]
    assert networks["queue"] == {"internal": True}


def test_every_image_is_pinned_to_an_exact_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    for stages in STAGES.values():
        images += [stage.base for stage in stages.values() if stage.base not in stages]
    assert len(images) > len(STAGES)
    assert [image for image in images if not EXACT_VERSION.fullmatch(image)] == []


def test_all_images_of_ours_stand_on_the_same_base() -> None:
    assert len({lineage(STAGES[file], name)[-1].base for file, name in IMAGES}) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_with_the_least_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service.get("read_only", False) is (name != "gateway")  # Compose refuses inline configs there
    assert "/tmp" in service["tmpfs"][0]  # noqa: S108 - in the container
    user = final_value(*built_stage(service), "USER") if "build" in service else service["user"]
    assert user not in {None, "root", "0", "0:0"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_checked_and_restarted_unless_it_ends_by_itself(name: str) -> None:
    service = SERVICES[name]
    if name in ("prepare", "fetch"):
        assert (service["restart"], service["healthcheck"]) == ("no", {"disable": True})
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


def test_the_start_order_is_redis_worker_prepare_api_and_corpora_gateway() -> None:
    waits = {
        (name, other): how["condition"]
        for name, service in SERVICES.items()
        for other, how in service.get("depends_on", {}).items()
    }
    assert waits == {
        ("worker", "redis"): "service_healthy",
        ("flower", "redis"): "service_healthy",
        ("prepare", "redis"): "service_healthy",
        ("prepare", "worker"): "service_healthy",
        ("api", "redis"): "service_healthy",
        ("api", "prepare"): "service_completed_successfully",
        ("corpora", "redis"): "service_healthy",
        ("corpora", "prepare"): "service_completed_successfully",
        ("gateway", "api"): "service_healthy",
    }


def test_redis_keeps_the_queue_and_evicts_only_cached_vectors() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "volatile-lru"
    assert options["--maxmemory"] == "${REDIS_MAXMEMORY:-1gb}"
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_several_api_processes_can_share_the_service() -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES["api"].keys()


def test_the_worker_is_given_time_to_hand_its_jobs_back() -> None:
    assert SERVICES["worker"]["stop_grace_period"] == "30s"


def test_every_setting_reaches_the_services_and_only_settings_do() -> None:
    settings = read_compose()["x-settings"]
    assert set(settings) == {name.upper() for name in Settings.model_fields}
    for name in ("api", "worker", "prepare", "flower"):
        assert environment_of(SERVICES[name]).items() >= settings.items(), name


@pytest.mark.parametrize("path", [COMPOSE_FILE, GPU_FILE], ids=lambda path: path.name)
def test_every_variable_of_a_compose_file_is_explained_in_the_example(path: Path) -> None:
    services = read_compose(path)["services"].values()
    passed_on = {name for service in services for name, value in environment_of(service).items() if value is None}
    explained = set(re.findall(r"^#([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert (passed_on | variables_in(path.read_text())) - explained == set()


def test_the_gpu_file_changes_the_torch_build_and_reserves_a_gpu() -> None:
    override = read_compose(GPU_FILE)
    assert override["services"].keys() == {"worker"}
    worker = override["services"]["worker"]
    assert worker["build"]["args"].keys() == {"TORCH_INDEX_URL"}
    [device] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "DTYPE" not in environment_of(worker)
    assert "ARG TORCH_INDEX_URL=" in (REPOSITORY / "Dockerfile.worker").read_text()


@pytest.mark.parametrize(("file", "name"), IMAGES)
def test_an_image_holds_no_source_tree_and_runs_as_a_fixed_user(file: str, name: str) -> None:
    stages = STAGES[file]
    copies = [copy for stage in lineage(stages, name) for copy in stage.values("COPY")]
    assert copies
    assert all(copy.startswith("--from=") and copy.endswith("/opt/venv /opt/venv") for copy in copies)
    assert final_value(stages, name, "USER") == "10001:10001"


@pytest.mark.parametrize(("file", "name"), IMAGES)
def test_an_image_starts_without_a_shell_in_between_and_says_how_it_is(file: str, name: str) -> None:
    stages = STAGES[file]
    command = json.loads(final_value(stages, name, "CMD") or "null")
    assert command[:2] == ["python", "-m"]
    assert final_value(stages, name, "STOPSIGNAL") == "SIGTERM"
    assert "CMD [" in (final_value(stages, name, "HEALTHCHECK") or "")


def test_the_programs_that_the_containers_run_exist() -> None:
    text = "\n".join(path.read_text() for path in (*DOCKERFILES, COMPOSE_FILE))
    modules = set(re.findall(r'-m"?, "?([a-z.]+)', text))
    assert modules == {"api.main", "api.commands.main", "worker.main", "worker.health"}
    assert [module for module in modules if find_spec(module) is None] == []


def test_the_build_context_holds_what_the_dockerfiles_copy_and_nothing_else() -> None:
    copied = {
        source
        for stages in STAGES.values()
        for stage in stages.values()
        for copy in stage.values("COPY")
        if not copy.startswith("--from=")
        for source in copy.split()[:-1]
    }
    let_through = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert let_through == copied


def test_the_wheel_takes_in_every_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    top_level = [REPOSITORY / name for name in ("api", "shared", "worker")]
    found = {
        ".".join(init.parent.relative_to(REPOSITORY).parts) for top in top_level for init in top.rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found


@pytest.mark.parametrize("files", [[COMPOSE_FILE], [COMPOSE_FILE, GPU_FILE]], ids=["cpu", "gpu"])
def test_docker_compose_accepts_the_files(files: list[Path]) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("Docker Compose is not installed")
    arguments = [argument for file in files for argument in ("-f", str(file))]
    subprocess.run([docker, "compose", *arguments, "config", "--quiet"], check=True)


def test_the_hubs_token_reaches_the_download_alone() -> None:
    assert [name for name, service in SERVICES.items() if "HF_TOKEN" in service.get("environment", {})] == ["fetch"]
