"""A rescue as a command carries it out: on the screen, to an exit code."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from harness.caffe_files.messages import caffe_directory
from harness.caffe_files.net_roles import accuracies
from harness.cluster.place import place
from harness.exit_codes import Exit
from harness.output import writing_results
from harness.processes import return_large_blocks
from harness.recording.result_files import json_text
from harness.recording.run_directory import read_info
from harness.reports.console import results_console
from harness.reports.text.rescue import show_rescue
from harness.reports.view_terminal import ViewTerminal
from harness.rescuing.means import Means
from harness.rescuing.request import RescueRequest
from harness.rescuing.session import rescue
from harness.supervisor.signals import Interrupts

_COLUMNS = 120  # of results in a file or a pipe


def rescue_on_screen(run: Path, request: RescueRequest, *, as_json: bool = False) -> int:
    """Rescue a run, shown on standard error, and print what became of it. Returns the exit code.

    Raises:
        As `rescue`.
    """
    return_large_blocks()
    interrupts = Interrupts("continue")
    with closing(ViewTerminal()) as terminal, terminal.showing_errors(), interrupts.planning():
        caffe_directory()
        with place(request.dask, request.workers, terminal.message) as where:
            workers = where.arms.count(read_info(run))
            means = Means(terminal, interrupts, workers, where.arms, lambda: where.legs(workers))
            found = rescue(run, request, means)
    with writing_results():
        if as_json:
            print(json_text(found))
        else:
            known = accuracies(read_info(run).test_nets)
            show_rescue(found, known, results_console(_COLUMNS))
    return Exit.DONE if found.finished or not found.attempts else Exit.DIVERGED
