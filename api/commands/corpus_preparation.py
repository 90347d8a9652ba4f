"""The preparation of one wanted corpus, as a process of its own: its memory and its failures end with it."""

import asyncio
import logging
import os
import re
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from api.commands.child_process import USAGE_EXIT_CODE, describe_exit
from api.corpus_pointer import find_prepared
from api.snapshot import SnapshotManifest
from shared.corpus_reports import CorpusReport
from shared.errors import CorpusError
from shared.wanted_corpora import WantedCorpus

FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0
STOP_SECONDS = 5.0
MOST_QUIET_SECONDS = 3600.0
"""A preparation that says nothing for so long is ended: others wait for it.  The longest step without a word is a
download, which goes on where it was ended."""

LONGEST_SENTENCE = 500
READ_BYTES = 4096

LOG_LINE = re.compile(r"\d\d:\d\d:\d\d [A-Z]+ +(?P<message>.*)")
"""A line of its log, in the readable form."""

PROGRESS = re.compile(r"(?P<label>[\w ]+): +(?P<percent>\d+)%\|.*\| (?P<done>\d+)/(?P<total>\d+) \[")
"""A line of the preparation's progress bar."""

log = logging.getLogger("prepare")


@dataclass
class Preparation:
    """How far this host is with one wanted corpus."""

    wanted: WantedCorpus
    report: CorpusReport = field(default_factory=lambda: CorpusReport("waiting", "Others are prepared first."))
    failures: int = 0
    due_at: float = 0.0
    """Of time.monotonic(); infinite once it is prepared."""

    def begin(self) -> None:
        """It is being worked on."""
        self.report = CorpusReport("preparing", "It has just begun.")

    def tell(self, line: str) -> None:
        """Take the latest line of its process as what it does now; its log goes into ours."""
        if progress := PROGRESS.match(line):
            line = "{label}: {percent} % ({done} of {total}).".format(**progress.groupdict())
        elif logged := LOG_LINE.fullmatch(line):
            line = logged["message"]
            log.info("%(corpus)s: %(line)s", {"corpus": self.wanted.prefix, "line": line})
        self.report = CorpusReport("preparing", line[:LONGEST_SENTENCE])

    def fail(self, sentence: str) -> float:
        """Try again in so many seconds, later each time."""
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self.failures, 16))
        self.failures += 1
        self.due_at = time.monotonic() + pause
        self.report = CorpusReport("failed", f"{sentence[:LONGEST_SENTENCE]} It is tried again in {pause:.0f} seconds.")
        return pause

    def finish(self, digest: str) -> None:
        """It is prepared, and nothing is left to do."""
        self.failures, self.due_at = 0, float("inf")
        self.report = CorpusReport("prepared", digest=digest)


async def run_preparation(
    wanted: WantedCorpus,
    data_dir: Path,
    tell: Callable[[str], None],
    *,
    most_quiet_seconds: float = MOST_QUIET_SECONDS,
) -> str:
    """Prepare a corpus in another process and return its digest; `tell` gets each line that it prints.

    Raises `CorpusError` with the process's last line where it fails, or prints nothing for so long.  Cancelling ends
    the process.
    """
    entry = ["--prefix", wanted.prefix, "--added-at", repr(wanted.added_at), "--digest", wanted.digest]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "api.commands.main", "prepare", *entry, "--end-with-stdin"),
        stdin=PIPE,  # held open: it ends with this process
        stdout=DEVNULL,
        stderr=PIPE,
        env={**os.environ, **wanted.source.variables(), "LOG_FORMAT": "readable"},
    )
    last = deque([""], maxlen=1)
    try:
        assert process.stderr is not None  # noqa: S101 - it is a pipe, for the checker
        async for line in printed_lines(process.stderr, most_quiet_seconds):
            last.append(line)
            tell(line)
        code = await process.wait()
    except TimeoutError:
        raise CorpusError(
            f"Its preparation said nothing for {most_quiet_seconds / 60:.0f} minutes and was ended; before that: "
            f"{last[0] or 'nothing'}"
        ) from None
    finally:
        await _end(process)
    if code == USAGE_EXIT_CODE:
        raise CorpusError(last[0])
    if code:
        raise CorpusError(f"Its preparation ended with {describe_exit(code)}: {last[0]}")
    folder = find_prepared(data_dir, wanted)
    if folder is None:
        raise CorpusError("Its preparation has left no snapshot: see this process's log.")
    return SnapshotManifest.read(folder).corpus_digest


async def printed_lines(
    stream: asyncio.StreamReader, most_quiet_seconds: float = MOST_QUIET_SECONDS
) -> AsyncIterator[str]:
    """Lines that are not empty; a progress bar ends each of its own by a carriage return.

    Raises `TimeoutError` where nothing comes for so long.
    """
    rest = ""
    while chunk := await asyncio.wait_for(stream.read(READ_BYTES), most_quiet_seconds):
        *lines, rest = re.split(r"[\r\n]", rest + chunk.decode("utf-8", "replace"))
        for line in filter(None, map(str.strip, lines)):
            yield line
    if rest.strip():
        yield rest.strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
