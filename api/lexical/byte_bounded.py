"""Remembers what was used last, in so many bytes at most."""

from operator import itemgetter
from typing import Generic, TypeVar

from cachetools import LRUCache

Key = TypeVar("Key")
Value = TypeVar("Value")


class ByteBounded(Generic[Key, Value]):
    """Values by key; the caller says what an entry takes, its key included.  Not thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._entries: LRUCache[Key, tuple[Value, int]] = LRUCache(most_bytes, getsizeof=itemgetter(1))

    def get(self, key: Key) -> Value | None:
        """What is remembered of a key."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: Key, value: Value, size_bytes: int) -> None:
        """Remember a value instead of those that were not used for longest; one that is too large is not remembered."""
        if size_bytes <= self._entries.maxsize:
            self._entries[key] = value, size_bytes

    @property
    def size_bytes(self) -> int:
        """Of all that is remembered."""
        return int(self._entries.currsize)
