"""Archives that are cut, damaged or made to do harm: the whole corpus comes out of them, or a sentence and nothing."""

import bz2
import gzip
import hashlib
import lzma
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.archive import MOST_MEMBERS, unpack_corpus
from shared.errors import ArtifactError
from tests.acceptance.fuzz_models import fuzzed
from tests.corpora import as_lines, declaration

BLOCK_BYTES = 512
LONGEST_NAME_BYTES = 255
FILES = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE]
LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE]
DEVICES = [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]

TarFormat = Literal[1, 2]
"""GNU's or POSIX's."""
Compress = Callable[[bytes], bytes]
Files = dict[str, bytes]
Unpacked = Files | str
"""What lies in the corpus folder, by path, or what the error says."""


@dataclass(frozen=True)
class Member:
    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644


def declarations_of(module: str, count: int) -> Member:
    """A file of theorems whose names are hashes, so that it compresses badly."""
    names = [hashlib.sha256(f"{module}{number}".encode()).hexdigest() for number in range(count)]
    return Member(f"Declarations/{module}.jsonl", as_lines([declaration(name) for name in names]))


SOUND = [
    Member("revision", b"v1\n"),
    Member("Modules.jsonl", as_lines([{"name": name} for name in "ABCD"])),
    Member("HammerBlacklist.jsonl", b'{"hammerBlacklist":[]}'),
    *(declarations_of(module, count) for module, count in [("A", 3), ("B", 1), ("C", 500), ("D", 9)]),
]
FIRST = SOUND[:4]
SOUND_FILES = {member.name: member.content for member in SOUND}


def make_tar(members: Sequence[Member], tar_format: TarFormat = tarfile.GNU_FORMAT) -> bytes:
    return b"".join(pack(member, tar_format) for member in members) + bytes(2 * BLOCK_BYTES)


def pack(member: Member, tar_format: TarFormat = tarfile.GNU_FORMAT) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.type, info.mode, info.size = member.kind, member.mode, len(member.content)
    info.linkname = "../../outside" if member.kind in LINKS else ""
    return info.tobuf(tar_format, "utf-8", "surrogateescape") + in_blocks(member.content)


def in_blocks(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK_BYTES)


def deflated(tar: bytes) -> bytes:
    return gzip.compress(tar, mtime=0)


def stored(tar: bytes) -> bytes:
    return gzip.compress(tar, 0, mtime=0)


ARCHIVES = {
    "deflated": deflated(make_tar(SOUND)),
    "stored": stored(make_tar(SOUND)),
    "bz2": bz2.compress(make_tar(SOUND)),
    "xz": lzma.compress(make_tar(SOUND)),
}


def unpack(archive: bytes, *, left_over: bool = False) -> Unpacked:
    """Unpack twice; whatever comes of it, both times the same does, and everything else is as it was."""
    with TemporaryDirectory() as name:
        path, root = Path(name) / "premises.tar.gz", Path(name) / "state" / "corpora"
        path.write_bytes(archive)
        unpacked = root / hashlib.sha256(archive).hexdigest()
        if left_over:  # by a start that was killed
            write_junk(unpacked.with_name(f"{unpacked.name}.partial"))
        first, second = unpack_once(path, root), unpack_once(path, root)
        assert first == second
        folders = [unpacked] if isinstance(first, dict) else []
        assert [entry for entry in root.iterdir() if entry.is_dir()] == folders
        outside = {entry for entry in Path(name).rglob("*") if not entry.is_relative_to(root)}
        assert outside == {path, root.parent}
    if isinstance(first, str):
        assert first.isprintable()
        assert first.startswith(str(path))
    return first


def unpack_once(archive: Path, root: Path) -> Unpacked:
    try:
        folder = unpack_corpus(archive, root)
    except ArtifactError as error:
        return str(error)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_junk(folder: Path) -> None:
    for name in ("Declarations/left-over.jsonl", "revision"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"junk")


def damage(whole: bytes, way: str, place: int, length: int, junk: bytes) -> bytes:
    """The bytes with something done to them at a place, which is counted around their end."""
    start = place % len(whole)
    before, stretch, after = whole[:start], whole[start : start + length], whole[start + length :]
    ways = {
        "cut": before,
        "removed": before + after,
        "doubled": before + stretch + stretch + after,
        "blanked": before + bytes(len(stretch)) + after,
        "inserted": before + junk + stretch + after,
        "appended": whole + junk,
        "changed": before
        + bytes(one ^ other for one, other in zip(stretch, junk, strict=False))
        + whole[start + len(junk) :],
    }
    return ways[way]


NEEDED = ["revision", "Modules.jsonl", "HammerBlacklist.jsonl"]
ODD_NAMES = [
    "..", ".", "", "...", " ", "..\\A.jsonl", "C:\\A.jsonl", "é.jsonl", "e\u0301.jsonl", "\udcff.jsonl", "a\nb.jsonl",
    "x" * 150, "x" * 255, "x" * 256, "𝔸" * 64,
]  # fmt: skip
ODD_FOLDERS = ["", "./", "top/", "other/", "/", "//", "../", "./../", "top/../", "Declarations/", "revision/", "top/./"]

names = st.builds(
    "{}{}".format,
    st.sampled_from(ODD_FOLDERS),
    st.sampled_from([*NEEDED, "Declarations", "Declarations/A.jsonl", "Declarations/A.jsonl/B", "Imports/A.jsonl"])
    | st.sampled_from(ODD_NAMES).map("Declarations/{}".format)
    | st.sampled_from(ODD_NAMES),
)
kinds = st.sampled_from([*FILES, tarfile.REGTYPE] * 4 + [tarfile.DIRTYPE] * 2 + [*LINKS, *DEVICES, b"Z"])


@st.composite
def odd_members(draw: st.DrawFn) -> Member:
    name, kind = draw(names), draw(kinds)
    if kind == tarfile.AREGTYPE and name.endswith("/"):
        kind = tarfile.DIRTYPE  # as old archives mean it
    content = draw(st.sampled_from([b"", b"odd", b"odd" * 300])) if kind in FILES else b""
    return Member(name, content, kind, draw(st.sampled_from([0o644, 0, 0o777, 0o4755])))


@st.composite
def member_lists(draw: st.DrawFn) -> list[Member]:
    """A corpus, perhaps in a folder of its own or without some of its files, and some other members among them."""
    folder = draw(st.sampled_from(["", "./", "top/"]))
    members = [replace(member, name=folder + member.name) for member in SOUND[:5]]
    for member in draw(st.just([]) | st.lists(st.sampled_from(members), max_size=2, unique=True)):
        members.remove(member)
    for member in draw(st.lists(odd_members(), max_size=3)):
        members.insert(draw(st.integers(0, len(members))), member)
    return members


def files_to_unpack(members: Sequence[Member]) -> Files | None:
    """Files of the one corpus among the members, the later of two of a name; None where there is not just one."""
    tree: dict[tuple[str, ...], bytes] = {}
    for member in members:
        parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
        if member.kind not in (*FILES, tarfile.DIRTYPE) or member.name.startswith("/") or ".." in parts:
            return None
        if member.kind in FILES and (is_needed(parts) or is_needed(parts[1:])):
            if not fits(parts, tree) or member.name.endswith("/."):
                return None
            tree[parts] = member.content
    folders: set[tuple[str, ...]] = {parts[:-2] for parts in tree if is_declaration(parts)}
    if any(parts[:1] == ("Declarations",) for parts in tree):
        folders = {()}
    if len(folders) != 1:
        return None
    [top] = folders
    return {"/".join(parts[len(top) :]): content for parts, content in tree.items() if parts[: len(top)] == top}


def is_needed(parts: tuple[str, ...]) -> bool:
    return (len(parts) == 1 and parts[0] in NEEDED) or (len(parts) == 2 and is_declaration(parts))


def is_declaration(parts: tuple[str, ...]) -> bool:
    return parts[-2:-1] == ("Declarations",)


def fits(parts: tuple[str, ...], tree: dict[tuple[str, ...], bytes]) -> bool:
    """Whether a disk takes the file: no name too long, no file where a folder should be, nor the reverse."""
    names_fit = all(len(part.encode("utf-8", "surrogateescape")) <= LONGEST_NAME_BYTES for part in parts)
    return names_fit and not any(parts != other and is_within(parts, other) for other in tree)


def is_within(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


PAX_KEYS = [
    "path", "path", "size", "mtime", "mtime", "linkpath", "uid", "hdrcharset", "comment",
    "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.major", "GNU.sparse.minor",
    "GNU.sparse.name", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.numblocks",
]  # fmt: skip
PAX_VALUES = [
    b"", b"0", b"1", b"-1", b"99999999999999999999", b"1e300", b"nan", b"inf", b"x", b"\xff", b"1,2,3", b"0,9,9,9",
    b"BINARY", b"Declarations/A\0.jsonl", b"Declarations/A\n.jsonl", b"Declarations/../../A.jsonl", b"/Declarations/A",
    b"Declarations/" + b"x" * 300,
]  # fmt: skip
HEADER_FIELDS = {
    "mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12), "link": (157, 100), "magic": (257, 8),
    "device": (329, 8), "prefix": (345, 155), "sparse map": (386, 24), "sparse is extended": (482, 1),
    "sparse size": (483, 12),
}  # fmt: skip
"""Where each lies and how many bytes it has."""
HEADER_KINDS = b"01234567xgXLKSVMDZ\0"


def pax_record(key: str, value: bytes) -> bytes:
    record = b" %s=%s\n" % (key.encode(), value)
    digits = 1
    while len(str(len(record) + digits)) > digits:
        digits += 1
    return b"%d%s" % (len(record) + digits, record)


pax_payloads = st.lists(
    st.builds(pax_record, st.sampled_from(PAX_KEYS), st.sampled_from(PAX_VALUES)), min_size=1, max_size=3
).map(b"".join)
HUGE = b"\x80" + (2**62).to_bytes(11, "big")
odd_numbers = st.sampled_from(
    [
        HUGE,
        b"\x80" + b"\x7f" * 11,
        b"\x80" + bytes(10) + b"\1",
        b"\xff" * 12,
        b"7" * 12,
        b"-1",
        b"\0" * 12,
        b"  8 ",
        b"abc",
    ]
)


def pack_oddly(name: str, kind: int, fields: Mapping[str, bytes], content: bytes = b"") -> bytes:
    """A member whose header is in order, save for what it says."""
    header = bytearray(pack(Member(name, content))[:BLOCK_BYTES])
    header[156] = kind
    for field, value in fields.items():
        start, length = HEADER_FIELDS[field]
        header[start : start + min(length, len(value))] = value[:length]
    return with_checksum(bytes(header)) + in_blocks(content)


def with_checksum(header: bytes) -> bytes:
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


@fuzzed(300)
@given(
    whole=st.sampled_from(["deflated", "deflated", "stored", "bz2", "xz"]),
    way=st.sampled_from(["cut", "removed", "doubled", "blanked", "inserted", "appended", "changed", "changed"]),
    place=st.integers(0, 2**17),
    length=st.integers(1, 600),
    junk=st.binary(min_size=1, max_size=3),
)
def test_a_damaged_archive_gives_the_whole_corpus_or_nothing(
    whole: str, way: str, place: int, length: int, junk: bytes
) -> None:
    unpacked = unpack(damage(ARCHIVES[whole], way, place, length, junk))
    assert isinstance(unpacked, str) or unpacked == SOUND_FILES


@fuzzed(100)
@given(st.sampled_from([bytes, deflated]), st.integers(0, len(make_tar(SOUND)) - 1))
def test_a_tar_that_ends_too_early_gives_the_whole_corpus_or_nothing(compress: Compress, length: int) -> None:
    unpacked = unpack(compress(make_tar(SOUND)[:length]))
    assert isinstance(unpacked, str) or unpacked == SOUND_FILES


@fuzzed(100)
@given(st.integers(0, len(SOUND) - 1), st.integers(0, BLOCK_BYTES - 1), st.integers(1, 255))
def test_a_tar_with_a_broken_header_gives_the_whole_corpus_or_nothing(number: int, place: int, flip: int) -> None:
    tar = bytearray(make_tar(SOUND))
    tar[sum(len(pack(member)) for member in SOUND[:number]) + place] ^= flip
    unpacked = unpack(deflated(bytes(tar)))
    assert isinstance(unpacked, str) or unpacked == SOUND_FILES


@fuzzed(300)
@given(
    members=member_lists(),
    tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    left_over=st.booleans(),
)
def test_an_archive_gives_the_files_of_its_corpus_or_is_refused_for_what_else_it_holds(
    members: list[Member], tar_format: TarFormat, *, left_over: bool
) -> None:
    unpacked = unpack(deflated(make_tar(members, tar_format)), left_over=left_over)
    expected = files_to_unpack(members)
    assert isinstance(unpacked, str) if expected is None else unpacked == expected


@fuzzed(400)
@given(
    name=st.sampled_from(["Declarations/Z.jsonl", "Declarations/Z.jsonl", "notes.txt"]),
    kind=st.sampled_from(HEADER_KINDS) | st.sampled_from(b"0xS"),
    fields=st.dictionaries(st.sampled_from([*HEADER_FIELDS]), odd_numbers | st.binary(max_size=24), max_size=2),
    content=pax_payloads | pax_payloads | st.sampled_from([b"1\n0\n9\n", b"Declarations/\0x"]) | st.binary(),
)
@example(name="notes.txt", kind=tarfile.XHDTYPE[0], fields={"size": HUGE}, content=b"")
def test_a_header_that_says_odd_things_is_obeyed_within_the_folder_or_refused(
    name: str, kind: int, fields: dict[str, bytes], content: bytes
) -> None:
    tar = b"".join(map(pack, FIRST)) + pack_oddly(name, kind, fields, content) + make_tar(SOUND[len(FIRST) :])
    unpacked = unpack(deflated(tar))
    assert isinstance(unpacked, str) or unpacked.keys() >= {member.name for member in FIRST}


@pytest.mark.timeout(15)
def test_a_member_that_would_end_before_it_begins_is_not_read_again_and_again() -> None:
    one_block_back = (256**12 - BLOCK_BYTES).to_bytes(12, "big")
    odd = pack_oddly("notes.txt", tarfile.REGTYPE[0], {"size": one_block_back})
    unpacked = unpack(deflated(b"".join(map(pack, FIRST)) + odd))
    assert isinstance(unpacked, str)
    assert str(MOST_MEMBERS) not in unpacked
