"""What a process uses of its machine's memory."""

import resource
import sys
from pathlib import Path

STATM = Path("/proc/self/statm")


def resident_memory_bytes() -> int:
    """Memory of this process now; where the system does not tell (macOS), the most that it has had."""
    try:
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_memory_bytes()


def peak_memory_bytes() -> int:
    """Most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
