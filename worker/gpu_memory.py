"""What a worker uses of its GPU's memory."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """All 0 without a GPU."""

    held_bytes: int = 0
    """Held by this process, whether a batch uses it at the moment or not."""
    device_bytes: int = 0
    """What the GPU has in all."""
