"""The place of a run directory, which a user may move or delete while the run goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPlace:
    """A run directory.

    Attributes:
        named: its path as the user gave it.
        path: a path that leads there even after it was moved (`locks.path_by`).
    """

    named: Path
    path: Path

    @property
    def is_deleted(self) -> bool:
        """Whether someone has deleted it."""
        return not self.path.is_dir() or not self.path.stat().st_nlink

    @property
    def current(self) -> Path:
        """Its path as a user sees it now."""
        with suppress(OSError):
            if not self.named.samefile(self.path):
                return self.path.resolve()
        return self.named

    def for_the_user(self, text: object) -> str:
        """Return `text` with the path that a user sees in place of `path`."""
        return str(text).replace(str(self.path), str(self.current))
