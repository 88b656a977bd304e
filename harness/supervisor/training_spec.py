"""What is to be trained: a solver and its nets, from a user's files or from what a run wrote down of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.caffe_files.field_values import flatten
from harness.caffe_files.messages import parse_text, pb, read_text
from harness.caffe_files.net import NetFile, test_nets, train_net
from harness.caffe_files.solver import solver_type
from harness.errors import BadInput
from harness.recording.run_directory import read_facts
from harness.supervisor import validate as checks
from harness.supervisor.net_upgrade import upgrade_net


@dataclass(frozen=True)
class Problem:
    """A solver and its nets, each with only the layers of its phase. `path` is where the solver was written.

    `as_written`: the nets are those that the solver itself names, so Caffe can read them by itself.
    """

    path: Path
    solver: Any  # SolverParameter
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
        """Everything for which Caffe would abort, as far as the messages show it.

        Raises:
            BadInput: a field, a layer or a file.
        """
        checks.check_solver(self.solver, self.solver_type, self.path)
        if len(self.solver.test_iter) != len(self.tests):
            raise BadInput(
                f"{len(self.tests)} test nets, which need as many values",
                file=self.path,
                field="test_iter",
                value=list(self.solver.test_iter),
                remedy="Give one test_iter for each test net",
            )
        checks.check_snapshot_names(self.solver, self.train, self.path)
        for net, phase in zip(self.nets, ("TRAIN", *("TEST" for _ in self.tests)), strict=True):
            checks.check_layers(net, phase)
            checks.check_sources(net)


def read_problem(path: Path) -> Problem:
    """The problem in the solver file `path`.

    Raises:
        BadInput: a file cannot be read, or Caffe would abort on what it says.
    """
    solver = read_text(path, pb.SolverParameter, "solver")
    checks.check_solver(solver, solver_type(solver), path)  # before its nets: these errors are nearer to the user
    return Problem(
        path, solver, train_net(solver, path, upgrade_net), tuple(test_nets(solver, path, upgrade_net)), True
    )


def recorded_problem(file: Path, facts: dict[str, Any]) -> Problem:
    """The problem that `facts` (run.json, or the JSON beside a snapshot) wrote down; `file` is named in errors.

    Raises:
        BadInput: it was written by a harness that did not write the nets down.
    """
    if not {"solver", "net", "test_nets"} <= facts.keys():
        raise BadInput(
            "does not hold the solver and all nets",
            file=file,
            remedy="It was made by an older harness: resume with run.py --solver S.prototxt --resume X.solverstate",
        )
    train = NetFile(f"{file}: net", parse_text(facts["net"], pb.NetParameter, file))
    tests = tuple(
        NetFile(f"{file}: test_nets[{i}]", parse_text(text, pb.NetParameter, file))
        for i, text in enumerate(facts["test_nets"])
    )
    return Problem(file, parse_text(facts["solver"], pb.SolverParameter, file), train, tests, False)


def recorded_fields(run: Path) -> dict[str, Any]:
    """What run.json of the directory `run` says, each prototxt in it by its fields.

    Raises:
        BadInput: it cannot be read.
    """
    facts, file = read_facts(run), run / "run.json"
    texts = {"net": facts["net"]} | {f"test net #{n}": text for n, text in enumerate(facts.get("test_nets", []))}
    nets = {name: flatten(parse_text(text, pb.NetParameter, file)) for name, text in texts.items()}
    solver = flatten(parse_text(facts["solver"], pb.SolverParameter, file))
    return {name: value for name, value in facts.items() if name != "test_nets"} | {"solver": solver} | nets
