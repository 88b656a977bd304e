"""Paths: the checkout, its environment, the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LOGS = ROOT / "tests/logs"
CASE = LOGS / "case.log"  # of the run that this project started with
READLOG = ROOT / "harness/readlog.py"
FIXTURES = ROOT / "tests/fixtures"
# the user's cache, in which tools/setup has left Caffe's source; tests have a cache of their own
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe-harness"
