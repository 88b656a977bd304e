"""The training that a run carries out: a solver and its nets, from a user's files or from run.json."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from google.protobuf import text_format

from harness.caffe_files.field_values import flatten
from harness.caffe_files.messages import parse_text, pb, read_text
from harness.caffe_files.net import NetFile, layers_in_state, test_nets, train_net
from harness.caffe_files.solver import solver_type
from harness.errors import BadInput
from harness.schemas.run_info import RunInfo, TrainingSetup
from harness.supervisor.net_upgrade import upgrade_net
from harness.supervisor.validation.layers import check_fields, check_tops
from harness.supervisor.validation.training import check_layers, check_snapshot_names, check_solver, check_sources


@dataclass(frozen=True)
class TrainingSpec:
    """A solver and its nets, each with only the layers of its phase. `path` is the file that the solver was read from.

    `as_written`: the nets are those that the solver itself names, so that Caffe can read them.
    """

    path: Path
    solver: pb.SolverParameter
    train: NetFile
    tests: tuple[NetFile, ...]
    as_written: bool

    @property
    def nets(self) -> tuple[NetFile, ...]:
        """The train net, then the test nets in Caffe's order."""
        return (self.train, *self.tests)

    @property
    def solver_type(self) -> str:
        return solver_type(self.solver)

    def check(self) -> None:
        """Check for everything at which Caffe would abort, as far as the messages show it.

        Raises:
            BadInput: a field, a layer or a file.
        """
        check_solver(self.solver, self.solver_type, self.path)
        if len(self.solver.test_iter) != len(self.tests):
            raise BadInput(
                f"{len(self.tests)} test nets, which need as many values",
                file=self.path,
                field="test_iter",
                value=list(self.solver.test_iter),
                remedy="Give one test_iter for each test net",
            )
        check_snapshot_names(self.solver, self.train, self.path)
        for net, phase in zip(self.nets, ("TRAIN", *("TEST" for _ in self.tests)), strict=True):
            check_layers(net, phase)
            check_fields(net)
            check_tops(net)
            check_sources(net)


def read_training_spec(path: Path, level: int = 0, stages: str = "") -> TrainingSpec:
    """Read the training in the solver file `path`, with the state that `caffe train` gives the train net.

    Args:
        level: replaces the solver's `train_state.level` (--level of tools/caffe.cpp).
        stages: added to its `train_state.stage`, separated by commas; "" adds one empty stage, as there.

    Raises:
        BadInput: a file cannot be read, or Caffe would abort on what it says.
    """
    solver = read_text(path, pb.SolverParameter, "solver")
    if not -(1 << 31) <= level < 1 << 31:
        raise BadInput("not a 32-bit number", field="--level", value=level, remedy="Give a smaller one")
    solver.train_state.level = level
    solver.train_state.stage.extend(stages.split(","))
    check_solver(solver, solver_type(solver), path)  # before its nets: these errors are nearer to the user
    train, tests = train_net(solver, path, upgrade_net), tuple(test_nets(solver, path, upgrade_net))
    # names in other encodings than UTF-8 are unknown to Python: Caffe gets them as they were decoded
    is_ascii = all(text_format.MessageToString(net.param, as_utf8=True).isascii() for net in (train, *tests))
    return TrainingSpec(path, solver, train, tests, as_written=is_ascii)


def recorded_training_spec(file: Path, setup: TrainingSetup) -> TrainingSpec:
    """Return the training that `setup` records; errors name `file`, the run or file that it was read from.

    Raises:
        BadInput: a prototxt in it cannot be parsed.
    """
    train = NetFile(f"{file}: net", parse_text(setup.net, pb.NetParameter, file))
    tests = tuple(
        NetFile(f"{file}: test_nets[{i}]", parse_text(text, pb.NetParameter, file))
        for i, text in enumerate(setup.test_nets)
    )
    return TrainingSpec(file, parse_text(setup.solver, pb.SolverParameter, file), train, tests, False)


def in_its_state(spec: TrainingSpec) -> TrainingSpec:
    """Return `spec` without the layers that its train_state and test_state exclude, which an edit may have changed."""
    nothing = [pb.NetState()] * len(spec.tests)
    train = layers_in_state(spec.train.param, pb.TRAIN, spec.solver.train_state)
    tests = [
        replace(net, param=layers_in_state(net.param, pb.TEST, state))
        for net, state in zip(spec.tests, [*spec.solver.test_state, *nothing], strict=False)
    ]
    return replace(spec, train=replace(spec.train, param=train), tests=tuple(tests))


def recorded_fields(info: RunInfo, file: Path) -> dict[str, object]:
    """Return the fields of `info`, with each prototxt in it as a mapping; errors name `file`, from which it was read.

    Raises:
        BadInput: a prototxt in it cannot be parsed.
    """
    fields: dict[str, object] = msgspec.to_builtins(info)
    del fields["test_nets"]
    fields["solver"] = flatten(parse_text(info.solver, pb.SolverParameter, file))
    fields["net"] = flatten(parse_text(info.net, pb.NetParameter, file))
    tests = {
        f"test net #{n}": flatten(parse_text(text, pb.NetParameter, file)) for n, text in enumerate(info.test_nets)
    }
    return fields | tests
