"""Which snapshot belongs to which prefix, and which must not be pruned."""

from pathlib import Path

import pytest

from api.corpus_pointer import (
    CorpusPointer,
    find_prepared,
    forget_prefix,
    pointed_prefixes,
    snapshots_in_use,
    unused_snapshots,
)
from api.preparation_record import PreparationRecord
from api.snapshot import snapshots_folder, withdraw_snapshot
from api.snapshot_writer import publish_snapshot
from shared.corpus_source import CorpusSource
from shared.wanted_corpora import WantedCorpus

OLD, NEW = CorpusSource(data="/old"), CorpusSource(data="/new")


def wanted(prefix: str, source: CorpusSource, added_at: float = 1.0) -> WantedCorpus:
    return WantedCorpus(prefix=prefix, source=source, added_at=added_at, added_by="command")


def make_snapshot(data_dir: Path, letter: str) -> Path:
    folder = snapshots_folder(data_dir) / (letter * 64)
    folder.mkdir(parents=True)
    return folder


def test_a_pointer_names_the_snapshot_of_one_order_for_its_prefix(tmp_path: Path) -> None:
    folder = make_snapshot(tmp_path, "a")
    CorpusPointer(OLD, 1.0, folder.name).write(tmp_path, "v1.0")
    assert find_prepared(tmp_path, wanted("v1.0", OLD)) == folder
    assert find_prepared(tmp_path, wanted("v1.0", NEW)) is None
    assert find_prepared(tmp_path, wanted("v2.0", OLD)) is None
    assert find_prepared(tmp_path, wanted("v1.0", OLD, added_at=2.0)) is None
    assert pointed_prefixes(tmp_path) == ["v1.0"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"source": {}, "snapshot": "x"}', b'{"snapshot": 1}'])
def test_a_pointer_that_is_none_points_nowhere(tmp_path: Path, content: bytes) -> None:
    CorpusPointer(OLD, 1.0, "a" * 64).write(tmp_path, "v1.0")
    (snapshots_folder(tmp_path) / "corpora" / "v1.0.json").write_bytes(content)
    assert find_prepared(tmp_path, wanted("v1.0", OLD)) is None


def test_a_pointer_whose_snapshot_is_gone_points_nowhere(tmp_path: Path) -> None:
    CorpusPointer(OLD, 1.0, "a" * 64).write(tmp_path, "v1.0")
    assert find_prepared(tmp_path, wanted("v1.0", OLD)) is None


def test_what_a_prefix_or_the_default_corpus_needs_is_in_use(tmp_path: Path) -> None:
    default, named, unused = (make_snapshot(tmp_path, letter) for letter in "abc")
    publish_snapshot(tmp_path, default)
    CorpusPointer(OLD, 1.0, named.name).write(tmp_path, "v1.0")
    assert snapshots_in_use(tmp_path) == {default, named}
    assert unused_snapshots(tmp_path) == [unused]


def test_the_default_corpus_stays_in_use_while_no_replica_may_start_with_it(tmp_path: Path) -> None:
    default = make_snapshot(tmp_path, "a")
    publish_snapshot(tmp_path, default)
    PreparationRecord(source="s", namespace="n", dimension=8, snapshot=default.name).write(tmp_path)
    withdraw_snapshot(tmp_path)
    assert snapshots_in_use(tmp_path) == {default}


def test_a_forgotten_prefix_needs_nothing(tmp_path: Path) -> None:
    folder = make_snapshot(tmp_path, "a")
    CorpusPointer(OLD, 1.0, folder.name).write(tmp_path, "v1.0")
    PreparationRecord(source="s", namespace="n", dimension=8, snapshot=folder.name).write(tmp_path, "v1.0")
    forget_prefix(tmp_path, "v1.0")
    assert pointed_prefixes(tmp_path) == []
    assert PreparationRecord.read(tmp_path, "v1.0") is None
    assert unused_snapshots(tmp_path) == [folder]
