"""The speed of reading a log (MB/s on one core) and the memory it takes, compared with Caffe's own parser.

    python -m tools.bench.log [--megabytes N]

The log is synthetic: displays of a net with three heads as Caffe 1.0 prints them, a test pass after every hundred.
Other forms are made of it.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.nets import ROOT
from tools.bench.rows import Effort, Row, median
from tools.caffe_build.caffe_source import SDIST, download

MEGABYTES = 200
CACHE = Path.home() / ".cache/caffe-harness"  # where tools/caffe_build stores the pinned sdist
PARSER = ("tools/extra/parse_log.py", "tools/extra/extract_seconds.py")

_READ = """
import json, resource, sys, time
{setup}
started = time.process_time()
displays = {read}
took = time.process_time() - started
print(json.dumps([took, displays, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""
OURS = _READ.format(
    setup="from harness.caffe_log.reader import read_path", read="len(read_path(sys.argv[1]).runs[0].loss.values)"
)
_LAYERS = [f"inception_{name}/1x1" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
_DEBUG = b"".join(
    f"I0515 08:44:41.838122  1279 net.cpp:592]     [{way}] Layer {layer}, {blob}: 0.0{number}51\n".encode()
    for way, blob in (("Forward", "top blob x data"), ("Backward", "bottom blob x diff"))
    for number, layer in enumerate(_LAYERS)
)
_FIRST_LINE = re.compile(rb"(?m)^(.* Iteration \d+ \()")
_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "one test pass in five displays": lambda log: _with_tests(log, 5),
    "with debug_info": lambda log: _FIRST_LINE.sub(lambda line: _DEBUG + line[1], log),
    "with Windows line ends": lambda log: log.replace(b"\n", b"\r\n"),
    "after time stamps of docker": lambda log: re.sub(rb"(?m)^(?=.)", b"2016-05-15T08:44:41.123456789Z ", log),
    "its text, compressed": gzip.compress,
}
CAFFES = _READ.format(setup="import parse_log", read="len(parse_log.parse_log(sys.argv[1])[0])")


def write_log(path: Path, megabytes: float) -> int:
    """Write a log of about that size, and return its bytes."""
    size = megabytes * 1e6
    with path.open("w") as file:
        file.write(f"Log file created at: 2016/05/15 08:44:35\n{_stamp(0)} solver.cpp:288] Solving GoogleNet\n")
        iteration, loss = 0, 9.72169
        while file.tell() < size:
            display = []
            for _ in range(100):
                iteration += 40
                loss = 1.5 + (loss * 7919.0) % 8
                display.append(_display(iteration, loss))
            file.write("".join(display) + _test(iteration, loss))
    return path.stat().st_size


def _stamp(iteration: int) -> str:
    second = iteration // 6
    return f"I0515 {second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{iteration % 1000000:06d}  1279"


def _heads(loss: float) -> list[tuple[str, float, float]]:
    return [("loss1/loss1", 0.3, loss * 0.59), ("loss2/loss1", 0.3, loss * 0.58), ("loss3/loss3", 1.0, loss * 0.56)]


def _display(iteration: int, loss: float) -> str:
    at = _stamp(iteration)
    heads = "".join(
        f"{at} solver.cpp:258]     Train net output #{k}: {name} = {value:g} (* {weight:g} = {weight * value:g} loss)\n"
        for k, (name, weight, value) in enumerate(_heads(loss))
    )
    speed = f"{loss:g} iter/s, {40 / loss:g}s/40 iters"
    rate = 1e-3 * (1 - iteration % 800_000 / 800_000) ** 0.5
    return (
        f"{at} solver.cpp:239] Iteration {iteration} ({speed}), loss = {loss:g}\n{heads}"
        f"{at} sgd_solver.cpp:112] Iteration {iteration}, lr = {rate:g}\n"
    )


def _test(iteration: int, loss: float) -> str:
    at = _stamp(iteration)
    heads = "".join(
        f"{at} solver.cpp:424]     Test net output #{k}: {name} = {value:g} (* {weight:g} = {weight * value:g} loss)\n"
        for k, (name, weight, value) in enumerate(_heads(loss))
    )
    return f"{at} solver.cpp:347] Iteration {iteration}, Testing net (#0)\n{heads}"


def _with_tests(log: bytes, displays: int) -> bytes:
    """Add a test pass before one in so many displays."""

    def before(line: re.Match[bytes]) -> bytes:
        iteration = int(line[1].rsplit(b" ", 2)[-2])
        return (_test(iteration, 1.5).encode() if iteration // 40 % displays == 0 else b"") + line[1]

    return _FIRST_LINE.sub(before, log)


def caffes_parser(home: Path) -> Path:
    """Put Caffe's own parser into `home`, with its print statements as Python 3 has them and no other change."""
    if not (CACHE / SDIST).exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        download(CACHE / SDIST)
    with tarfile.open(CACHE / SDIST) as archive:
        for name in PARSER:
            file = archive.extractfile(f"{SDIST.removesuffix('.tar.gz')}/{name}")
            assert file is not None
            source = file.read().decode()
            (home / Path(name).name).write_text(re.sub(r"print ('[^\n]*)", r"print(\1)", source))
    return home


def measure(script: str, log: Path, home: Path) -> tuple[float, int, int]:
    """Read `log` in a process of its own; return its CPU seconds, the displays, and its peak resident bytes."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(log)], cwd=home, check=True,
                          capture_output=True, text=True, env={"PYTHONPATH": f"{home}:{ROOT}"})  # fmt: skip
    seconds, displays, peak = json.loads(done.stdout)
    return float(seconds), int(displays), int(peak)


def rows(name: str, home: Path, effort: Effort, megabytes: float | None = None) -> Iterator[Row]:
    megabytes = megabytes or (MEGABYTES / 5 if effort.quick else MEGABYTES)
    caffes_parser(home)
    small, whole = home / "small.log", home / "whole.log"
    sizes = write_log(small, megabytes / 4), write_log(whole, megabytes)
    ours = [measure(OURS, whole, home) for _ in range(effort.of(5))]
    theirs = measure(CAFFES, whole, home)
    peaks = measure(OURS, small, home)[2], max(peak for _, _, peak in ours)
    low, speed, high = median([sizes[1] / 1e6 / seconds for seconds, _, _ in ours])
    raw = {"bytes": sizes, "ours": ours, "parse_log": theirs, "peaks": peaks}
    detail = f"{sizes[1] / 1e6:,.0f} MB, {len(ours)} times; CPU time"
    yield Row(name, "reading a log, one core", speed, "MB/s", 150, False, low, high, detail, raw)
    for form, make in _FORMS.items():
        yield _form_row(form, make, small.read_bytes(), home / "form.log", effort)
    ratios = [theirs[0] / seconds for seconds, _, _ in ours]
    low, ratio, high = median(ratios)
    detail = f"parse_log.py {sizes[1] / 1e6 / theirs[0]:.1f} MB/s, {theirs[2] / 2**20:,.0f} MiB; the same file"
    yield Row("parse_log", "speed compared with Caffe's own parser", ratio, "×", 1, False, low, high, detail)
    detail = f"peak {peaks[0] / 2**20:.0f} MiB of {sizes[0] / 1e6:,.0f} MB, {peaks[1] / 2**20:.0f} MiB of the whole"
    growth = (peaks[1] - peaks[0]) / 2**20
    yield Row("log memory", "additional memory for four times the log", growth, "MiB", 32, detail=detail)


def _form_row(form: str, make: Callable[[bytes], bytes], text: bytes, log: Path, effort: Effort) -> Row:
    """Measure the reading of another form of the log; the speed is that of its text."""
    content = make(text)
    log.write_bytes(content)
    size = len(text if make is gzip.compress else content) / 1e6
    low, speed, high = median([size / measure(OURS, log, log.parent)[0] for _ in range(effort.of(5))])
    return Row("log form", form, speed, "MB/s", 150, False, low, high, f"{size:,.0f} MB; CPU time")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=MEGABYTES, metavar="N", help="default: %(default)s")
    parser.add_argument("--pairs", type=int, metavar="N", help="number of times it is read (default: 5)")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="bench-log-") as home:
        for row in rows("log", Path(home), Effort(args.pairs), args.megabytes):
            print(f"{row.name}: {row.what}: {row.value:.1f} {row.unit} ({row.detail})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
