"""How Lean clients spell the declarations of a corpus when they upload them as new premises.

The client prints `kind name.{universes} binders : type` with single spaces, the doc comment before it where it has one.
Where the caller is in the module system, what it imports without its body is an `axiom`.  A corpus's own text has two
spaces where there are no binders, and no universe names.  What follows from the fields of the extraction without
guessing is spelled here, each spelling as a text of its own: universe names do not, so polymorphic declarations are
missed.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import orjson

from shared.corpus import Corpus
from shared.embedding_cache import text_key

AXIOM = "axiom"
WITHOUT_BODY = ("theorem", "opaque")
WITHOUT_BODY_UNLESS_EXPOSED = ("def", "instance")


def spellings_of(declaration: Mapping[str, object]) -> list[str]:
    """Texts that a client may send for one line of an extraction, none twice; empty where the line is broken.

    The doc comment is left out, too: a client that runs outside an editor has none of imported modules.
    """
    name, kind, result_type = declaration.get("name"), declaration.get("kind"), declaration.get("type")
    binders = declaration.get("args")
    if not isinstance(binders, list):
        return []
    comment = _comment(declaration.get("doc"))
    signature = " ".join([f"{kind} {name}", *map(str, binders), f": {result_type}"])
    signatures = [*_own_signature(declaration.get("decl"), comment, f"{kind} {name}"), signature]
    if _is_imported_without_body(declaration):
        signatures += [f"{AXIOM}{text.removeprefix(str(kind))}" for text in signatures]
    return list(dict.fromkeys(before + text for text in signatures for before in (comment, "")))


def _is_imported_without_body(declaration: Mapping[str, object]) -> bool:
    kind, exposed = declaration.get("kind"), declaration.get("isExposed")
    hidden = kind in WITHOUT_BODY or (kind in WITHOUT_BODY_UNLESS_EXPOSED and not exposed)
    return hidden and bool(declaration.get("inModuleSystem"))


def _comment(doc: object) -> str:
    """As the client writes it: the comment's text without one space at its end."""
    return f"/-- {doc.removesuffix(' ')} -/\n" if isinstance(doc, str) else ""


def _own_signature(decl: object, comment: str, beginning: str) -> list[str]:
    """The signature that the extraction printed itself, where it did (`decl`), without the comment."""
    if not isinstance(decl, str):
        return []
    signature = decl.removeprefix(comment)
    return [signature] if signature.startswith(beginning) else []


def read_spellings(folder: Path, corpus: Corpus) -> list[str]:
    """Spellings of all premises of a corpus folder, in the order of its files, none twice."""
    names = {premise.name for premise in corpus.premises}
    return list(dict.fromkeys(text for line in _read_lines(folder, names) for text in spellings_of(line)))


def spellings_by_name(folder: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Spellings of the premises of these names."""
    return {str(line["name"]): spellings_of(line) for line in _read_lines(folder, names)}


def _read_lines(folder: Path, names: Collection[str]) -> Iterator[Mapping[str, object]]:
    """Declarations of these names.  Whether lines are whole was judged when the corpus was read."""
    for path in sorted((folder / "Declarations").glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                fields = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(fields, dict) and fields.get("name") in names:
                yield fields


def digest_of_texts(texts: Collection[str]) -> str:
    """Digest of a set of texts, whatever their order."""
    return hashlib.sha256("".join(sorted(map(text_key, texts))).encode()).hexdigest()
