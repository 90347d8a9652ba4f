"""A difference as people read it."""

from collections.abc import Iterable, Iterator, Sequence

from api.corpus_review.difference import Change, CorpusDifference, Place, Positions

SHOWN_CHARACTERS = 100
BEFORE_DIFFERENCE = 30


def difference_lines(difference: CorpusDifference, limit: int) -> Iterator[str]:
    """Counts first, then of each list the first `limit`."""
    yield from _overview(difference)
    yield from _listed("modules added", [f"+ {name}" for name in difference.modules_added], limit)
    yield from _listed("modules removed", [f"- {name}" for name in difference.modules_removed], limit)
    yield from _listed("added", [_place_line("+", place) for place in difference.added], limit)
    yield from _listed("removed", [_place_line("-", place) for place in difference.removed], limit)
    yield from _listed("renamed, it seems", _short_lines(difference.renamed), limit)
    yield from _listed("kinds changed", _named_lines(difference.kinds_changed), limit)
    yield from _listed("moved", _named_lines(difference.moved), limit)
    yield from _listed("visibility changed", _named_lines(difference.visibility_changed), limit)
    yield from _listed("statements changed", _long_lines(difference.statements_changed, limit), limit)
    yield from _listed("documentation changed", _long_lines(difference.docs_changed, limit), limit)


def _overview(difference: CorpusDifference) -> Iterator[str]:
    before, after, new = difference.before, difference.after, difference.new_texts
    for side in (before, after):
        yield f"{side.corpus}: revision {side.revision}, digest {side.digest}"
    if before.digest == after.digest:
        yield "They are the same corpus."
        return
    added, removed = len(difference.modules_added), len(difference.modules_removed)
    yield f"  modules         {before.modules:,} → {after.modules:,}: {added:,} added, {removed:,} removed"
    yield f"  declarations    {before.declarations:,} → {after.declarations:,}, before the filters"
    yield (
        f"  premises        {before.premises:,} → {after.premises:,}: {len(difference.added):,} added, "
        f"{len(difference.removed):,} removed, among both {len(difference.renamed):,} renamed, it seems"
    )
    statements, kinds, docs = difference.statements_changed, difference.kinds_changed, difference.docs_changed
    yield (
        f"  in both         {len(statements):,} statements, {len(kinds):,} kinds and {len(docs):,} documentations "
        f"alone changed; {len(difference.moved):,} moved, {len(difference.visibility_changed):,} of another visibility"
    )
    share = f"{new.texts / new.of_texts:.1%}, {new.characters:,} characters"
    yield f"  to embed        {new.texts:,} of {new.of_texts:,} texts are new ({share})"
    yield f"  module numbers  {_positions(difference.module_positions)}"
    yield f"  premise numbers {_positions(difference.premise_positions)}"


def _positions(positions: Positions) -> str:
    if not positions.changed:
        return "all mean the same in both"
    return (
        f"{positions.changed:,} mean something else now, from {positions.first_changed:,} on: "
        "a client with a list from before must fetch it anew"
    )


def _listed(title: str, lines: Iterable[str], limit: int) -> Iterator[str]:
    all_lines = list(lines)
    if not all_lines or limit == 0:
        return
    yield f"\n{title} ({len(all_lines):,})"
    yield from (f"  {line}" for line in all_lines[:limit])
    if len(all_lines) > limit:
        yield f"  … and {len(all_lines) - limit:,} more (--limit)"


def _place_line(sign: str, place: Place) -> str:
    return f"{sign} {_on_one_line(place.name)}  ({place.module})"


def _short_lines(changes: Iterable[Change]) -> list[str]:
    return [f"{_on_one_line(change.before)} → {_on_one_line(change.after)}" for change in changes]


def _named_lines(changes: Iterable[Change]) -> list[str]:
    return [f"{_on_one_line(change.name)}: {change.before} → {change.after}" for change in changes]


def _long_lines(changes: Sequence[Change], limit: int) -> list[str]:
    """Those that will be shown in full, the rest for their number."""
    shown = [_long_line(change) for change in changes[:limit]]
    return [*shown, *[""] * (len(changes) - len(shown))]


def _long_line(change: Change) -> str:
    start = max(0, _first_difference(change.before, change.after) - BEFORE_DIFFERENCE)
    before, after = _cut(change.before, start), _cut(change.after, start)
    return f"{_on_one_line(change.name)}\n    - {before}\n    + {after}"


def _first_difference(before: str, after: str) -> int:
    pairs = enumerate(zip(before, after, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))


def _cut(text: str, start: int) -> str:
    """From a little before the first difference on, with marks where something is left out."""
    end = start + SHOWN_CHARACTERS
    shown = _on_one_line(text[start:end]) or "nothing"
    return f"{'…' if start else ''}{shown}{'…' if len(text) > end else ''}"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
