"""Which further corpora a deployment is to serve: one hash in Redis, on which every process converges.

It has no lifetime, so that a full Redis never evicts it, and outlives restarts with Redis' append-only file.  What is
wanted at a prefix never changes: a client holds positions of one order and says no digest, so another corpus under the
same address would be misunderstood without a word.
"""

import time
from dataclasses import dataclass, replace
from typing import Self

import orjson
import redis.asyncio
from pydantic import TypeAdapter

from shared.corpus_prefix import LONGEST_PREFIX, check_prefix
from shared.corpus_source import CorpusSource
from shared.errors import CorpusConflictError, InvalidRequestError, UnknownCorpusError
from shared.unreadable_entries import tell_unreadable

WANTED_KEY = "premises:corpora"
"""Hash of `WantedCorpus` by prefix."""

MOST_CORPORA = 32
"""Each costs memory in every replica, and series in `/metrics`."""

FULL = b"full"

ADD = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then return held end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return false
"""

EXCHANGE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCorpus:
    """A corpus that is to be served at a prefix."""

    prefix: str
    source: CorpusSource
    added_at: float
    """Epoch seconds."""
    added_by: str
    """`command`, `endpoint` or `setting`."""
    digest: str = ""
    """Of names and order, once it has been prepared: from then on nothing else is served there."""

    @classmethod
    def now(cls, prefix: str, source: CorpusSource, added_by: str) -> Self:
        """One that is wanted from now on; raises `InvalidRequestError` for a prefix that cannot be served."""
        return cls(prefix=check_prefix(prefix), source=source, added_at=time.time(), added_by=added_by)

    @classmethod
    def from_bytes(cls, prefix: str, value: bytes | str) -> Self:
        """Read an entry; raises `ValueError` or `TypeError` where it is none."""
        fields = {**orjson.loads(value), "prefix": prefix}
        return TypeAdapter(cls).validate_json(orjson.dumps(fields), strict=True)

    def is_entry_of(self, other: "WantedCorpus") -> bool:
        """Whether both are one order: what was removed and added anew is another, even of the same source."""
        return (self.source, self.added_at) == (other.source, other.added_at)

    def to_bytes(self) -> bytes:
        """What Redis holds under its prefix."""
        return orjson.dumps(
            {
                "source": self.source.model_dump(),
                "added_at": self.added_at,
                "added_by": self.added_by,
                "digest": self.digest,
            }
        )


async def read_wanted(client: redis.asyncio.Redis) -> dict[str, WantedCorpus]:
    """All that are wanted, by prefix, oldest first; what cannot be read, as of a later version, is left out."""
    entries = []
    for prefix, value in (await client.hgetall(WANTED_KEY)).items():
        try:
            known = check_prefix(prefix if isinstance(prefix, str) else prefix.decode())
            entries.append(WantedCorpus.from_bytes(known, value))
        except (ValueError, TypeError, InvalidRequestError) as error:
            tell_unreadable(f"The wanted corpus {prefix[:LONGEST_PREFIX]!r}", error)
    return {entry.prefix: entry for entry in sorted(entries, key=lambda entry: entry.added_at)}


async def add_corpus(client: redis.asyncio.Redis, wanted: WantedCorpus) -> bool:
    """Want a corpus; False where the same is wanted there already.

    Raises `CorpusConflictError` where another one is, or what cannot be read, and `InvalidRequestError` where there are
    too many.
    """
    held = await client.eval(ADD, 1, WANTED_KEY, wanted.prefix, wanted.to_bytes(), MOST_CORPORA)
    if held is None:
        return True
    if held == FULL:
        raise InvalidRequestError(f"{MOST_CORPORA} corpora are wanted already: remove one first.")
    there = _readable(wanted.prefix, held)
    if there is None:
        raise CorpusConflictError(
            f"What is wanted at the prefix {wanted.prefix!r} cannot be read by this version: take another prefix, or "
            "remove that one first."
        )
    if there.source != wanted.source:
        raise CorpusConflictError(
            f"Another corpus is wanted at the prefix {wanted.prefix!r} ({there.source}), and clients hold positions in "
            "its order: take another prefix, or remove that one first and wait until no session uses it."
        )
    return False


async def remove_corpus(client: redis.asyncio.Redis, prefix: str) -> None:
    """Want a corpus no more; raises `UnknownCorpusError` where none is wanted there."""
    if not await client.hdel(WANTED_KEY, prefix.encode("utf-8", "surrogateescape")):  # as it was typed, text or not
        shown = prefix[:LONGEST_PREFIX]
        raise UnknownCorpusError(f"No corpus is wanted at the prefix {shown!r}: `premises corpora list` names them.")


async def hold_digest(client: redis.asyncio.Redis, wanted: WantedCorpus, digest: str) -> str:
    """The digest that is served at the prefix for good: this one, unless another was prepared before.

    Raises `UnknownCorpusError` where that corpus is wanted no more.
    """
    while True:
        value = await client.hget(WANTED_KEY, wanted.prefix)
        held = _readable(wanted.prefix, value) if value else None
        if value is None or held is None or not held.is_entry_of(wanted):
            raise UnknownCorpusError(f"The corpus at {wanted.prefix!r} has been removed meanwhile.")
        if held.digest:
            return held.digest
        new = replace(held, digest=digest).to_bytes()
        if await client.eval(EXCHANGE, 1, WANTED_KEY, wanted.prefix, value, new):
            return digest


def _readable(prefix: str, value: bytes | str) -> WantedCorpus | None:
    try:
        return WantedCorpus.from_bytes(prefix, value)
    except (ValueError, TypeError):
        return None
