"""Pages, pictures and notebooks that are committed hold no path of this machine."""

from __future__ import annotations

from harness.invocation import next_command, path_argument
from tests.helpers.paths import ROOT
from tools.machine_paths import without_machine


def test_commands_are_those_of_a_checkout_at_home() -> None:
    command = f"{next_command('restart')} {path_argument(ROOT / 'runs/demo')} --set base_lr=1"
    assert without_machine(f"x: {command}\n") == "x: caffe-harness restart ~/caffe-harness/runs/demo --set base_lr=1\n"
