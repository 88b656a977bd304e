"""Name the run directory of a restart after what it changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_LONGEST = 120  # bytes: a file system allows 255, and a name is read in tables and legends
_UNSAFE = re.compile(r"[^\w.=+,-]+")  # what a shell, a URL or another system may read as something else


def restart_name(run: str, changes: Sequence[str], start: int | None = None) -> str:
    """Join the name of a run and those of its changes, in characters that need no quotes: `demo-clip_gradients=10`.

    Args:
        changes: such as `base_lr=0.01`, `loss*/classifier:lr_mult=1` or `skip-841`.
        start: the iteration from which it restarts, if that belongs to the name.
    """
    return _joined([_safe(run).lstrip("-.") or "run", *_parts(changes, start)])


def changes_name(changes: Sequence[str], start: int | None = None) -> str:
    """Join the names of changes as `restart_name` does, without that of the run; empty where there are none."""
    return _joined(_parts(changes, start)).lstrip("-.")


def free_directory(parent: Path, name: str) -> Path:
    """Return a path in `parent` at which there is nothing: `name`, or `name-2` and so on."""
    path, number = parent / name, 2
    while path.exists() or path.is_symlink():
        path, number = parent / f"{name}-{number}", number + 1
    return path


def _parts(changes: Sequence[str], start: int | None) -> list[str]:
    parts = [_change(text) for text in changes] + ([f"from-{start}"] if start is not None else [])
    return [part for part in parts if part]


def _joined(parts: Sequence[str]) -> str:
    return "-".join(parts).encode()[:_LONGEST].decode(errors="ignore").rstrip("-._")


def _change(text: str) -> str:
    text = re.sub(r"[\s\"']", "", text)
    text += "default" if text.endswith("=") else ""  # an empty value restores the default
    return re.sub(r"_+\.", ".", _safe(text.replace(":", "."))).strip("._")


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)
