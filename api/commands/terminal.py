"""What the local server says on the terminal."""

import sys
import threading
from contextlib import suppress
from typing import TextIO

ERASE_LINE = "\r\033[K"

EXAMPLE_STATE = r"n : Nat\n⊢ Eq (HAdd.hAdd n 0) n"


class Terminal:
    """Writes whole lines from several threads, over a progress bar that may stand in the last one."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._start = ERASE_LINE if stream.isatty() else ""
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """One or more lines; a terminal that has gone away is no reason to end."""
        with self._lock, suppress(OSError):
            self._stream.write(f"{self._start}{text}\n")
            self._stream.flush()


def welcome(url: str, redis_log: str, *, wants_key: bool, flower_url: str | None = None) -> str:
    """What to do with a server that is ready; keys themselves are not shown."""
    try_it = "Try it, with a key of yours in the variable KEY" if wants_key else "Try it"
    authorization = ' -H "Authorization: Bearer $KEY"' if wants_key else ""
    lean_url = url.replace("://", "://user:<key>@") if wants_key else url
    flower = f"\nFlower: {flower_url} (how to log in was said at the start)" if flower_url else ""
    return f"""
The premise server is ready: {url}

Search and watch it in a browser: {url}/

{try_it}:
  curl -s {url}/retrieve{authorization} -H 'Content-Type: application/json' \\
    -d '{{"state": "{EXAMPLE_STATE}", "k": 8}}'

In Lean (LeanHammer, premise-selection):
  set_option premiseSelection.apiBaseUrl "{lean_url}"

Logs: API and worker write here, Redis to {redis_log}.{flower}
Stop: Ctrl-C (twice: at once).
"""
