"""What clients sent, read from the forms in which it is kept."""

import gzip
from pathlib import Path

import orjson
import pytest

from api.uploaded_texts import UploadedText, read_uploads
from shared.errors import ArtifactError
from tests.golden import require_shared_data

BODY = {"state": "⊢ True", "new_premises": [{"name": "A.t", "decl": "theorem A.t : True"}]}
WHOLE = gzip.compress(orjson.dumps(BODY), mtime=0)
DAMAGED_INSIDE = WHOLE[:12] + b"\xff" * 8 + WHOLE[20:]
EXPECTED = [UploadedText("A.t", "theorem A.t : True")]


@pytest.mark.parametrize(
    "content",
    [
        orjson.dumps(BODY),
        orjson.dumps(BODY, option=orjson.OPT_INDENT_2),
        orjson.dumps({"method": "POST", "body": BODY}),
        orjson.dumps({"method": "POST", "body": orjson.dumps(BODY).decode()}),
        orjson.dumps({"name": "A.t", "decl": "theorem A.t : True"}),
        gzip.compress(
            orjson.dumps(BODY) + b"\n\n" + orjson.dumps({"state": "⊢ True", "new_premises": None}) + b"\n", mtime=0
        ),
    ],
)
def test_every_form_in_which_uploads_are_kept_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sent").write_bytes(content)
    assert list(read_uploads(tmp_path / "sent")) == EXPECTED


def test_a_line_has_the_text_for_callers_in_the_module_system_too(tmp_path: Path) -> None:
    line = {"name": "A.t", "decl": "theorem A.t : True", "decl_module_caller": "axiom A.t : True"}
    (tmp_path / "sent").write_bytes(orjson.dumps(line))
    assert list(read_uploads(tmp_path / "sent")) == [*EXPECTED, UploadedText("A.t", "axiom A.t : True")]


def test_a_recorded_get_uploads_nothing(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(orjson.dumps({"method": "GET", "path": "/indexed-modules", "body": None}))
    assert list(read_uploads(tmp_path / "sent")) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"remember the milk",
        b"[1, 2]",
        b"{}",
        b'{"new_premises": [7]}',
        b'{"new_premises": [{"name": "A.t", "decl": null}]}',
        b'{"decl": null}',
        b'{"decl": {}}',
        b'{"decl": "theorem t : True", "decl_module_caller": 1}',
        gzip.compress(b"{}", mtime=0)[:-9],
        DAMAGED_INSIDE,
    ],
)
def test_a_file_that_is_no_upload_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    if content:
        with pytest.raises(ArtifactError, match=r"notes\.txt"):
            list(read_uploads(tmp_path / "notes.txt"))
    else:
        assert list(read_uploads(tmp_path / "notes.txt")) == []


def test_what_lean_sent_is_read_to_the_byte() -> None:
    recorded = require_shared_data() / "recorded" / "055-F_modules_indexed_with_local-POST.json"
    texts = {upload.name: upload.text for upload in read_uploads(recorded)}
    assert len(texts) == 24
    assert texts["my_two_mul"].startswith("/-- A documented local lemma: doubling is adding to itself. -/\ntheorem ")
