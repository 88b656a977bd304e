"""Replace the paths of this machine in commands that a reader elsewhere copies: pages, pictures and notebooks."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_CHECKOUT = "~/caffe-harness"  # as in the documentation


def without_machine(text: str) -> str:
    """Return `text` with `caffe-harness` for its path, and `~/caffe-harness` for the path of this checkout."""
    entry = Path(sys.executable).with_name("caffe-harness")
    return text.replace(str(entry), "caffe-harness").replace(str(ROOT), _CHECKOUT)
