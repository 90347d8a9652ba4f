"""The page's files, which the package carries, as ready answers."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from api.ready_answer import ReadyAnswer

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as browsers get it."""

    answer: ReadyAnswer
    media_type: str


@dataclass(frozen=True, slots=True)
class PageFiles:
    """All of them, in memory: some tens of kilobytes."""

    by_name: dict[str, PageFile]

    @classmethod
    def load(cls) -> Self:
        """Read `api/static/`, wherever the package lies."""
        return cls(
            {
                path.name: PageFile(ReadyAnswer.of(path.read_bytes()), MEDIA_TYPES[suffix])
                for path in files("api").joinpath("static").iterdir()
                if (suffix := path.name.rsplit(".", 1)[-1]) in MEDIA_TYPES
            }
        )
