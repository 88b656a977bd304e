"""Parsing the logs of real Caffe."""

from __future__ import annotations

import re
from pathlib import Path

from harness.caffe_log.model import LogRun
from tests.helpers.commands import caffe_train
from tests.helpers.lmdbs import CLASSES
from tests.helpers.parsed_logs import in_pieces, pairs, read
from tools.campaigns.logs import everything


def simple(log: str, pattern: str) -> list[tuple[int, float]]:
    return [(int(n), float(value)) for n, value in re.findall(pattern, log)]


def test_the_log_of_caffe_train_is_read_completely(small: Path) -> None:
    log = caffe_train(small / "solver.prototxt")
    found = read(log)
    (run,) = found.runs
    assert pairs(run.loss) == simple(log, r"\] Iteration (\d+)[^\n]*?, loss = (\S+)")
    assert pairs(run.lr) == simple(log, r"\] Iteration (\d+), lr = (\S+)")
    assert run.loss.iterations.tolist() == list(range(0, 60, 7))
    outputs = re.findall(r"Train net output #(\d): (\S+) = (\S+) \(\* (\S+) = ", log)
    assert [[o.name, o.weight, o.series.values.tolist()] for o in run.outputs] == [
        [name, weight, [float(v) for k, _, v, _ in outputs if int(k) == place]]
        for place, name, weight in ((0, "loss1/loss1", 0.3), (1, "loss3/loss3", 1.0))
    ]
    (test,) = run.tests
    assert [o.name for o in test] == ["loss1/loss1", "loss3/loss3", "loss3/top-1"]
    for output in test:
        values = re.findall(rf"Test net output #{output.number}: {output.name} = (\S+)", log)
        assert pairs(output.series) == [(t, float(v)) for t, v in zip((0, 20, 40, 60), values, strict=True)]
    assert [(n, Path(file).name) for n, file in run.snapshots] == [
        (n, f"native_iter_{n}.caffemodel") for n in (25, 50, 60)
    ]
    assert run.finished
    assert found.damaged == 0
    check_texts(run, small)
    assert everything(found) == everything(in_pieces(log.encode(), [], line_by_line=True))


def check_texts(run: LogRun, home: Path) -> None:
    from google.protobuf import text_format

    from harness.caffe_files.messages import pb

    assert run.solver_text is not None
    assert run.net_text is not None
    solver = text_format.Parse(run.solver_text, pb.SolverParameter())
    asked = text_format.Parse((home / "solver.prototxt").read_text(), pb.SolverParameter())
    for name in ("display", "average_loss", "base_lr", "lr_policy", "max_iter", "snapshot", "random_seed"):
        assert getattr(solver, name) == getattr(asked, name)
    net = text_format.Parse(run.net_text, pb.NetParameter())
    assert net.state.phase == pb.TRAIN
    assert [layer.inner_product_param.num_output for layer in net.layer if layer.type == "InnerProduct"] == [
        CLASSES
    ] * 2


def test_a_resumed_caffe_train_in_the_same_file_is_a_second_run(small: Path) -> None:
    first = caffe_train(small / "solver.prototxt")
    second = caffe_train(small / "solver.prototxt", f"--snapshot={small / 'native_iter_25.solverstate'}")
    log = read(first + second)
    assert [run.loss.iterations.tolist() for run in log.runs] == [list(range(0, 60, 7)), list(range(28, 60, 7))]
    assert [run.resumed_from for run in log.runs] == [None, str(small / "native_iter_25.solverstate")]
    assert log.runs[1].first_line > first.count("\n")
    assert log.damaged == 0
