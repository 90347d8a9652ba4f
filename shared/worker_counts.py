"""What a worker counts, as its heartbeat carries it: a worker has no HTTP port, so the API tells it to Prometheus."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram since the worker's start."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """Values up to each bound that are above the one before; the last count is of values above all bounds."""
    total: float
    """Sum of the values."""

    def cumulative(self) -> list[tuple[float, int]]:
        """Pairs of a bound and the number of values up to it; the last bound is infinite."""
        return list(zip((*self.bounds, float("inf")), accumulate(self.counts), strict=True))

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Rebuild one; raises `ValueError` where bounds and counts do not fit."""
        if len(wire["counts"]) != len(wire["bounds"]) + 1:
            raise ValueError("a histogram has one count more than bounds")
        return cls(tuple(wire["bounds"]), tuple(wire["counts"]), wire["total"])


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Of one class of work."""

    job_wait_seconds: Distribution
    """From the moment a job was put on the queue until this worker took it."""
    text_wait_seconds: Distribution
    """From then until a text was in a batch."""
    batch_seconds: Distribution

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Rebuild from a parsed heartbeat."""
        return cls(**{name: Distribution.from_wire(wire[name]) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Cumulative since the worker's start."""

    tokens: int = 0
    """Tokens of the texts embedded, without padding."""
    returned_jobs: int = 0
    """Jobs given back to the queue, in part or whole: the worker stopped, or they took too long."""
    batch_tokens: Distribution | None = None
    batch_fill: Distribution | None = None
    """Cost of a batch as a share of what it might have been."""
    classes: dict[str, ClassCounts] = field(default_factory=dict)
    """By the name of the class."""

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Rebuild from a parsed heartbeat; fields that a newer worker added are ignored."""
        return cls(
            tokens=wire.get("tokens", 0),
            returned_jobs=wire.get("returned_jobs", 0),
            batch_tokens=Distribution.from_wire(wire["batch_tokens"]) if wire.get("batch_tokens") else None,
            batch_fill=Distribution.from_wire(wire["batch_fill"]) if wire.get("batch_fill") else None,
            classes={name: ClassCounts.from_wire(counts) for name, counts in wire.get("classes", {}).items()},
        )
