"""The figures of docs/evaluation.md, measured again: the real model on the reference evaluation set."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.evaluation.run import EvaluationRun
from api.evaluation.summary import summarise
from tests.golden import require_shared_data
from tests.integration.conftest import Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "evaluation.md"
SMALL_SET = re.compile(r"^### Small corpus$.*?^32 +(\d\.\d{3}) \[\S+ \S+\] +(\d\.\d{3}) ", re.MULTILINE | re.DOTALL)


def test_minilm_reaches_on_the_small_set_what_the_document_says(server: Server, tmp_path: Path) -> None:
    data, output = require_shared_data(), tmp_path / "run.json"
    command = [
        sys.executable, "-m", "api.commands.main", "evaluate", str(data / "small-eval.jsonl.gz"), "--in-process",
        f"--data={data / 'small-corpus.tar.gz'}", f"--output={output}",
        f"--embeddings={data / 'embeddings' / 'small-all-MiniLM-L6-v2.npy'}",
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], **server.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr
    row = summarise(EvaluationRun.read(output), [32]).overall.row(32)
    told = SMALL_SET.search(DOCUMENT.read_text())
    assert told is not None
    assert (row.recall.mean, row.full_recall.mean) == pytest.approx((float(told[1]), float(told[2])), abs=0.002)
