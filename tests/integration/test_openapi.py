"""The API against its own OpenAPI document, by schemathesis' own runner: fitting and unfitting requests."""

import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import Server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_generated_requests_are_answered_as_documented(server: Server, tmp_path: Path) -> None:
    command = [
        sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
        "run", f"{server.url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
        "--max-examples", "30", "--generation-deterministic", "--mode", "all", "--no-color",
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=tmp_path, check=False)
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    assert "POST /retrieve" in finished.stdout or "Test cases" in finished.stdout, finished.stdout[-2000:]
