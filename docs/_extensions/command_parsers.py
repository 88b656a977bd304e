"""The parsers of the commands, as sphinx-argparse-cli shows them best: summary first, examples and exit codes last."""

from __future__ import annotations

import argparse

from harness import capsule as _capsule
from harness import compare as _compare
from harness import explain as _explain
from harness import make_lmdb as _make_lmdb
from harness import readlog as _readlog
from harness import report as _report
from harness import rescue as _rescue
from harness import restart as _restart
from harness import rewind as _rewind
from harness import run as _run
from harness import sweep as _sweep


def _arranged(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Move what follows the summary of `parser` to its end, where its line breaks are kept."""
    summary, _, rest = (parser.description or "").strip().partition("\n")
    parser.description, parser.epilog = summary, f"{rest.strip()}\n\n{(parser.epilog or '').strip()}".strip()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def run() -> argparse.ArgumentParser:
    return _arranged(_run.parser())


def restart() -> argparse.ArgumentParser:
    return _arranged(_restart.parser())


def explain() -> argparse.ArgumentParser:
    return _arranged(_explain.parser())


def rescue() -> argparse.ArgumentParser:
    return _arranged(_rescue.parser())


def sweep() -> argparse.ArgumentParser:
    return _arranged(_sweep.parser())


def rewind() -> argparse.ArgumentParser:
    return _arranged(_rewind.parser())


def compare() -> argparse.ArgumentParser:
    return _arranged(_compare.parser())


def readlog() -> argparse.ArgumentParser:
    return _arranged(_readlog.parser())


def report() -> argparse.ArgumentParser:
    return _arranged(_report.parser())


def make_lmdb() -> argparse.ArgumentParser:
    return _arranged(_make_lmdb.parser())


def capsule() -> argparse.ArgumentParser:
    return _arranged(_capsule.parser())
