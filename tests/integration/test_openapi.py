"""The API against its own OpenAPI document, by schemathesis' own runner: fitting and unfitting requests."""

import subprocess
import sys
from pathlib import Path

import httpx

from tests.integration.conftest import Server

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
)


def test_generated_requests_are_answered_as_documented(server: Server, tmp_path: Path) -> None:
    command = [
        sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
        "run", f"{server.url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
        "--max-examples", "30", "--generation-deterministic", "--mode", "all", "--no-color",
        "--request-timeout", "120", "--suppress-health-check", "too_slow",
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, timeout=550, cwd=tmp_path, check=False)
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    operations = sum(map(len, httpx.get(f"{server.url}/openapi.json").json()["paths"].values()))
    assert f"Tested: {operations}" in finished.stdout, finished.stdout[-2000:]
