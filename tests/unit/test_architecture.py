"""What must hold of the processes as a whole: no torch in the API, our packages are ours, importing does nothing."""

import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

FORBIDDEN_IN_API = ("torch", "transformers", "sentence_transformers", "tokenizers")
FORBIDDEN_IN_WORKER = ("fastapi", "starlette", "uvicorn", "faiss")


def modules_after_importing(module: str) -> set[str]:
    program = f"import sys, {module}; print('\\n'.join(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240)
    return set(finished.stdout.split())


@pytest.mark.parametrize("module", ["api.main", "api.commands.main", "api.commands.prepare"])
def test_the_api_process_loads_no_torch(module: str) -> None:
    assert not modules_after_importing(module) & set(FORBIDDEN_IN_API)


def test_the_worker_process_loads_no_web_framework_and_no_faiss() -> None:
    assert not modules_after_importing("worker.main") & set(FORBIDDEN_IN_WORKER)


@pytest.mark.parametrize("module", ["api.commands.main", "api.publishing.fetching", "api.worker_directory"])
def test_downloads_which_run_in_the_workers_image_load_nothing_that_it_lacks(module: str) -> None:
    assert not modules_after_importing(module) & {*FORBIDDEN_IN_WORKER, "cachetools", "numkong", "prometheus_client"}


@pytest.mark.parametrize("package", ["api", "shared", "worker"])
def test_no_other_distribution_owns_our_package_names(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"lean-premise-server"}


def test_importing_reads_no_settings() -> None:
    program = "import os; os.environ['MAX_K'] = 'nonsense'; import api.main, shared.celery_app"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)


def test_the_celery_cli_form_reads_the_settings_lazily() -> None:
    program = (
        "import os; os.environ['REDIS_URL'] = 'redis://127.0.0.1:1/7';"
        "from shared.celery_app import app; assert app.conf.broker_url.endswith(':1/7'), app.conf.broker_url;"
        "assert app.conf.worker_pool == 'threads' and app.conf.task_acks_late"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)
