"""What is checked of every net in the matrix: bits, log, resume, restart, report, compare."""

from __future__ import annotations

import io
import json
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from harness import compare, report
from harness.caffe_files.messages import pb
from harness.recording import Recording
from tests.helpers.caffe_output import spoken
from tests.helpers.net_matrix.parts import LAST, SNAPSHOT, MatrixNet
from tests.helpers.paths import BIN
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import command


def check(net: MatrixNet, data: Path, home: Path) -> None:
    """Train `net` with `caffe train` and with the harness, in the folder `home`, and compare the two."""
    solver = write(net, data, home)
    env = {"PYTHONPATH": str(data)} if 'type: "Python"' in net.layers else {}
    native = command(BIN / "caffe", "train", f"--solver={solver}", *net.options, cwd=home, env=env)
    assert native.code == 0, native.stderr[-2000:]
    expected = _weights(home, LAST)

    run = home / "run"
    _harness(
        "run", "--solver", solver, "--out", run, *net.options, "--watch", "0:2", "--watch", "6:9", cwd=home, env=env
    )
    assert _weights(run / "snapshots", LAST) == expected
    assert _words((run / "solver.log").read_text()) == _words(native.stderr)

    resumed, state = home / "resumed", home / f"native_iter_{2 * SNAPSHOT}.solverstate"
    _harness("run", "--solver", solver, "--out", resumed, *net.options, "--resume", state, cwd=home, env=env)
    if _exact(resumed):
        assert _weights(resumed / "snapshots", LAST) == expected

    restarted = home / "restarted"
    _harness("restart", run, "--from", SNAPSHOT, "--out", restarted, cwd=home, env=env)
    if _exact(restarted):
        with Recording(run) as one, Recording(restarted) as two:
            assert np.array_equal(one.series("digest")[SNAPSHOT:], two.series("digest"))
        assert _weights(restarted / "snapshots", LAST) == expected

    with warnings.catch_warnings(action="error"):  # users would see a warning of a library
        assert report.main([str(run), "--out", str(home / "report.html")]) == 0
        assert report.main([str(run), "--compare", str(restarted), "--out", str(home / "compared.html")]) == 0
    with redirect_stdout(io.StringIO()) as said:
        assert compare.main([str(run), str(restarted)]) == 0
    assert not _exact(restarted) or said.getvalue().startswith("identical"), said.getvalue()


def write(net: MatrixNet, data: Path, home: Path) -> Path:
    """Write `net` and its solver into `home`. Returns the path of the solver."""
    solver, layers = (
        text.replace("$DATA", str(data)).replace("$HOME", str(home)) for text in (net.solver_text(), net.layers)
    )
    (home / "net.prototxt").write_bytes(layers.encode(net.encoding))
    (home / "solver.prototxt").write_text(solver)
    return home / "solver.prototxt"


def _harness(name: str, *arguments: object, cwd: Path, env: dict[str, str]) -> None:
    done = harness_command(name, *arguments, "--on-alarm", "continue", cwd=cwd, env=env)
    assert done.code == 0, done.stderr[-3000:]


def _exact(run: Path) -> bool:
    return not json.loads((run / "run.json").read_text())["not_exact"]


def _weights(folder: Path, iteration: int) -> list[list[bytes]]:
    """The bytes of every blob in a caffemodel, layer by layer: names may be in another encoding."""
    net = pb.NetParameter.FromString((folder / f"native_iter_{iteration}.caffemodel").read_bytes())
    return [[np.array(blob.data, np.float32).tobytes() for blob in layer.blobs] for layer in net.layer if layer.blobs]


def _words(log: str) -> list[str]:
    """What was said, without names: `caffe train` prints those in Latin-1 as they are."""
    return [line.encode("ascii", "ignore").decode().replace("\ufffd", "") for line in spoken(log)]
