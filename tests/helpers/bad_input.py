"""A valid training that a test damages, and what the command then says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.run import main
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.resume import from_solverstate, from_weights
from harness.supervisor.training_spec import read_training_spec
from tests.helpers.nets import solver_text


@dataclass
class Case:
    """A folder with a valid `solver.prototxt` and `net.prototxt`, to be damaged."""

    home: Path
    data: Path
    capfd: pytest.CaptureFixture[str]

    @property
    def solver(self) -> Path:
        return self.home / "solver.prototxt"

    @property
    def net(self) -> Path:
        return self.home / "net.prototxt"

    @property
    def out(self) -> Path:
        return self.home / "run"

    def solver_fields(self, **fields: object) -> None:
        self.solver.write_text(solver_text(self.net, self.home / "native", **fields))

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def run(self, *arguments: object, solver: Path | None = None, out: Path | None = None) -> tuple[int, str]:
        """Run the command; return its exit code and standard error."""
        given = ["--solver", str(solver or self.solver), "--out", str(out or self.out), *map(str, arguments)]
        try:
            code = int(main(given))
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        captured = self.capfd.readouterr()
        if code == 2:
            assert captured.out == ""
        return code, captured.err

    def refused(self, *said: str, arguments: tuple[object, ...] = (), **where: Path) -> str:
        """Check that it exits with 2, leaves nothing behind, and prints one error that contains all of `said`."""
        code, stderr = self.run(*arguments, **where)
        assert code == 2, stderr[-2000:]
        assert not self.out.exists() or "out" in where
        assert "Traceback" not in stderr
        assert stderr.count("error: ") <= 1
        for part in said:
            assert part in stderr
        return stderr

    def works(self, *arguments: object) -> str:
        code, stderr = self.run("--until", 3, *arguments)
        assert code == 0, stderr[-3000:]
        return stderr

    def warnings(self, state: Path | None = None) -> str:
        """Plan the run, from the snapshot `state` if one is given, and return its warnings, a line each."""
        spec = read_training_spec(self.solver)
        start = from_weights(None, spec.solver) if state is None else from_solverstate(state)
        plan = make_plan(spec, start, Options(out=self.out, cpu=True))
        return "\n".join(remark for remark in plan.remarks if remark.startswith("warning: "))
