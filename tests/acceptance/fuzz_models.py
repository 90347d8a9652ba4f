"""How much the fuzz tests try, and slow obvious readers of JSON and of a corpus to compare with."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hypothesis import HealthCheck, settings

from shared.corpus import Premise

TIMES_IN_FULL = 5

DENIED_MODULE_COMPONENTS = [
    "Aesop", "Auto", "Cli", "CodeAction", "DocGen4", "Duper", "ImportGraph", "Lake", "Lean", "LeanSearchClient",
    "Linter", "Mathport", "MD4Lean", "Plausible", "ProofWidgets", "Qq", "QuerySMT", "Tactic", "TacticExtra", "Test",
    "Testing", "UnicodeBasic", "Util",
]  # fmt: skip
DENIED_NAME_COMPONENTS = ["Lean", "Lake", "Qq"]


def fuzzed(examples: int) -> settings:
    """Settings of a property test: the same examples on every run, five times as many where FUZZ is `full`."""
    times = TIMES_IN_FULL if os.environ.get("FUZZ") == "full" else 1
    return settings(
        max_examples=examples * times, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


def read_json(text: bytes, *, nan_passes: bool = False) -> object:
    """A JSON document in UTF-8 without lone surrogates; anything else raises `ValueError`.

    `NaN`, `Infinity` and `-Infinity` are not JSON, but Python's parser reads them where it may.
    """
    decoded = text.decode()
    parse_constant = float if nan_passes else _refuse
    for string in _strings(json.loads(decoded, object_pairs_hook=tuple, parse_constant=parse_constant)):
        string.encode()  # of a lone surrogate this is a UnicodeEncodeError, which is a ValueError
    return json.loads(decoded)


def _strings(value: object) -> Iterator[str]:
    """All strings of a document whose objects are tuples of pairs, so that repeated keys are all there."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _refuse(constant: str) -> float:
    raise ValueError(constant)


@dataclass(frozen=True)
class CorpusModel:
    """What a reader should find in a corpus."""

    revision: str
    modules: list[str]
    unfiltered_names: list[str]
    premises: list[Premise]
    row_of_unfiltered: list[int]


@dataclass(frozen=True)
class Faults:
    """What is wrong with a corpus: pieces of text, all of which an error has to hold for one of the faults."""

    faults: list[tuple[str, ...]]

    def are_told_by(self, message: str) -> bool:
        return any(all(piece in message for piece in fault) for fault in self.faults)


Files = Mapping[str, bytes]
"""Contents by path inside the corpus folder."""


def read_corpus_slowly(files: Files, *, skip_rest: bool) -> CorpusModel | Faults:
    faults: list[tuple[str, ...]] = []
    revision = _revision(files, faults)
    modules = _modules(files, faults)
    denied_names = _denied_names(files, faults)
    declared = _declared(files, modules, faults, skip_rest=skip_rest)
    premises: dict[str, Premise] = {}
    for premise, result_type in declared:
        if not _is_denied(premise, result_type, denied_names):
            premises.setdefault(premise.name, premise)
    if not premises:
        faults.append(("no premise",))
    if faults:
        return Faults(faults)
    names = [premise.name for premise, _ in declared]
    rows = [list(premises).index(name) if name in premises else -1 for name in names]
    return CorpusModel(revision, sorted(set(modules)), names, list(premises.values()), rows)


def _revision(files: Files, faults: list[tuple[str, ...]]) -> str:
    try:
        revision = files.get("revision", b"").decode().strip()
    except UnicodeDecodeError:
        revision = ""
    if not revision:
        faults.append(("revision",))
    return revision


def _modules(files: Files, faults: list[tuple[str, ...]]) -> list[str]:
    modules = []
    if "Modules.jsonl" not in files:
        faults.append(("Modules.jsonl",))
    for number, line in enumerate(_lines(files.get("Modules.jsonl", b"")), start=1):
        try:
            modules.append(_text(_fields(line), "name"))
        except ValueError:
            faults.append(("Modules.jsonl", f"line {number}:"))
    return modules


def _denied_names(files: Files, faults: list[tuple[str, ...]]) -> list[str]:
    if "HammerBlacklist.jsonl" not in files:
        return []
    try:
        return _texts(_fields(files["HammerBlacklist.jsonl"]), "hammerBlacklist")
    except ValueError:
        faults.append(("HammerBlacklist.jsonl",))
        return []


def _declared(
    files: Files, modules: list[str], faults: list[tuple[str, ...]], *, skip_rest: bool
) -> list[tuple[Premise, str]]:
    declared = []
    names = [path.removeprefix("Declarations/") for path in files if path.startswith("Declarations/")]
    if not names:
        faults.append(("Declarations",))
    for name in sorted(name for name in names if name.endswith(".jsonl")):
        module = name.removesuffix(".jsonl")
        lines = _lines(files[f"Declarations/{name}"])
        if lines and module not in modules:
            faults.append((name,))
        for number, line in enumerate(lines, start=1):
            try:
                declared.append(_declaration(line, module))
            except ValueError:
                if not skip_rest:
                    faults.append((name, f"line {number}:"))
                break
    return declared


def _lines(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _declaration(line: bytes, module: str) -> tuple[Premise, str]:
    fields = _fields(line)
    name, kind, result_type = (_text(fields, key) for key in ("name", "kind", "type"))
    doc = "" if fields.get("doc") is None else "/-- " + _text(fields, "doc").strip() + " -/\n"
    binders = " ".join(_texts(fields, "args"))
    text = doc + " ".join([kind, name, binders, ":", result_type])
    premise = Premise(
        name,
        module,
        text,
        kind,
        binders_start=len(text) - len(f"{binders} : {result_type}"),
        type_start=len(text) - len(result_type),
        in_module_system=_flag(fields, "inModuleSystem"),
        is_exposed=_flag(fields, "isExposed"),
    )
    return premise, result_type


def _is_denied(premise: Premise, result_type: str, denied_names: list[str]) -> bool:
    return (
        premise.name in denied_names
        or result_type.startswith("Lean.")
        or any(component in DENIED_NAME_COMPONENTS for component in premise.name.split("."))
        or any(component in DENIED_MODULE_COMPONENTS for component in premise.module.split("."))
    )


def _fields(line: bytes) -> dict[str, object]:
    fields = read_json(line)
    if not isinstance(fields, dict):
        raise ValueError(line)  # noqa: TRY004 - what is wrong is the text
    return fields


def _text(fields: dict[str, object], key: str) -> str:
    [text] = _texts({key: [fields.get(key)]}, key)
    return text


def _texts(fields: dict[str, object], key: str) -> list[str]:
    texts = fields.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(key)
    return texts


def _flag(fields: dict[str, object], key: str) -> bool:
    flag = fields.get(key)
    if flag is not None and not isinstance(flag, bool):
        raise ValueError(key)
    return flag is True
