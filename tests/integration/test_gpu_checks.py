"""The checks of tools/check_gpu, on the CPU with a small net: they pass, and each finds what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import numpy.typing as npt
import psutil
import pytest

from harness.caffe_files.messages import pb, read_binary
from harness.recording.checksums import COLUMN
from harness.recording.hdf5_schema import datasets
from harness.schemas.onset import Onset
from harness.schemas.run_info import Ended
from tests.helpers.paths import ROOT
from tests.helpers.processes import command, has_ended, started, wait_for
from tools.gpu_checks.__main__ import main
from tools.gpu_checks.alarms import judge_break, judge_nan
from tools.gpu_checks.checks import CHECKS, Check
from tools.gpu_checks.cuda_driver import NoGpu, find_card
from tools.gpu_checks.exactness import repeats, resumes, same_as_caffe
from tools.gpu_checks.nets import CPU_NETS
from tools.gpu_checks.observations import difference_from, judge_probes, windows
from tools.gpu_checks.place import Place
from tools.gpu_checks.probed import Probed
from tools.gpu_checks.process import run
from tools.gpu_checks.results import Result, together

TOOL = ROOT / "tools/check_gpu"
(NET,) = CPU_NETS


# Trainings, each made once


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where all trainings of these checks are, which have passed."""
    place = Place(tmp_path_factory.mktemp("checks"), None)
    for check in (repeats, same_as_caffe, windows, resumes):
        result = check(place)
        assert result.status == "passed", result
        assert result.found.startswith("small: ")
    return place


@pytest.fixture
def damaged(place: Place, tmp_path: Path) -> Place:
    """A copy of the trainings, to be damaged."""
    shutil.copytree(place.home, tmp_path / "copy")
    return replace(place, home=tmp_path / "copy")


@contextmanager
def unchecked(run: Path) -> Iterator[h5py.File]:
    """Open a recording for a change that its checksums do not reveal."""
    with h5py.File(run / "recording.h5", "r+") as file:
        for dataset in datasets(file):
            dataset.attrs.pop(COLUMN, None)
        yield file


def change_a_digest(run: Path, row: int) -> None:
    with unchecked(run) as file:
        file["digest"][row] ^= np.uint64(1)


def flip_a_weight(model: Path) -> None:
    net = read_binary(model, pb.NetParameter, "caffemodel")
    data = next(layer for layer in net.layer if layer.name == "conv").blobs[0].data
    data[3] = flipped(np.array(data, np.float32), 3)[3]
    model.write_bytes(net.SerializeToString())


def of_plain_pycaffe(place: Place) -> dict[str, npt.NDArray[Any]]:
    with np.load(place.home / "small/plain.npz") as arrays:
        return dict(arrays)


def flipped(values: npt.NDArray[np.float32], element: int) -> npt.NDArray[np.float32]:
    bits = values.copy().reshape(-1).view(np.uint32)
    bits[element] ^= 1
    return bits.view(np.float32).reshape(values.shape)


def test_bits_that_do_not_repeat_are_found_and_leave_other_checks_undecided(damaged: Place) -> None:
    change_a_digest(damaged.home / "small/second", 7)
    result = repeats(damaged)
    assert result.status == "failed"
    assert "small: the weights differ from iteration 7 on" in result.found
    assert "of iteration 6" in result.found
    assert "Exactness is not promised on this card" in result.found
    change_a_digest(damaged.home / "small/resumed", 3)
    assert resumes(damaged).status == "undecided"
    change_a_digest(damaged.home / "small/first", NET.window.start)
    assert windows(damaged).status == "undecided"


def test_a_resumed_run_with_another_bit_is_found(damaged: Place) -> None:
    change_a_digest(damaged.home / "small/resumed", 3)
    result = resumes(damaged)
    assert result.status == "failed"
    assert f"from iteration {NET.middle + 3} on" in result.found


def test_a_flipped_bit_of_a_weight_is_found(damaged: Place) -> None:
    home = damaged.home / "small"
    model = home / f"native_iter_{NET.iterations}.caffemodel"
    shutil.copy(model, home / f"again_iter_{NET.iterations}.caffemodel")
    (ours,) = (home / "first/snapshots").glob(f"*_iter_{NET.iterations}.caffemodel")
    flip_a_weight(ours)
    result = same_as_caffe(damaged)
    assert result.status == "failed"
    assert "1 of 1,325 weights differ" in result.found
    assert "first in conv/0, while `caffe train` repeats its bits" in result.found
    flip_a_weight(home / f"again_iter_{NET.iterations}.caffemodel")
    assert same_as_caffe(damaged).status == "undecided"


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        ("weight", "conv/0", "1 of 36 elements of weight conv/0 differ"),
        ("gradient", "ip/1", "1 of 5 elements of gradient ip/1 differ"),
        ("update", "ip/0", "1 of 1,280 elements of update ip/0 differ"),
        ("input", "data", "1 of 400 elements of input data differ"),
    ],
)
def test_a_flipped_bit_in_a_window_is_found(kind: str, label: str, said: str, place: Place) -> None:
    at, arrays = NET.window.stop - 1, of_plain_pycaffe(place)
    arrays[f"{kind}/{at}/{label}"] = flipped(arrays[f"{kind}/{at}/{label}"], 1)
    assert difference_from(place.home / "small/first", arrays) == f"{said} in iteration {at}"


def test_a_wrong_digest_and_a_wrong_norm_are_found(damaged: Place) -> None:
    with unchecked(damaged.home / "small/first") as file:
        file["stat/update_l2"][NET.window.start, 0] *= 1 + 3e-6
    result = windows(damaged)
    assert result.status == "failed"
    assert "small: update_l2 of conv/0 is " in result.found
    assert f" of what pycaffe reads in iteration {NET.window.start}." in result.found
    arrays = of_plain_pycaffe(damaged)
    arrays[f"digest/{NET.window.start}/weights"] += np.uint64(1)
    assert "the digest is " in str(difference_from(damaged.home / "small/first", arrays))


# Judgements

SEEN = Probed(digest="00", cpu_digest="00", deviation=3e-7, where="statistic 0 of conv/0", count=40)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "passed"),
        ({"cpu_digest": "01"}, "failed"),
        ({"deviation": 2e-6}, "failed"),
        ({"deviation": float("nan")}, "failed"),
    ],
)
def test_statistics_and_digests_have_to_be_those_of_the_cpu(changes: dict[str, object], status: str) -> None:
    assert judge_probes(msgspec.structs.replace(SEEN, **changes)).status == status


BROKE = Ended(code=3, how="diverged", iteration=90, onset=Onset(61, "a reason"))


def test_a_break_has_to_be_found_where_it_is() -> None:
    assert judge_break("small", 60, BROKE, ("loss_jump",)).status == "passed"
    assert judge_break("small", 50, BROKE, ("loss_jump",)).status == "failed"
    assert judge_break("small", 60, msgspec.structs.replace(BROKE, onset=None), ()).status == "failed"
    assert judge_break("small", 60, msgspec.structs.replace(BROKE, code=0), ()).status == "failed"
    assert judge_nan(BROKE, ("non_finite",)).status == "passed"
    assert judge_nan(BROKE, ("loss_jump",)).status == "failed"
    assert judge_nan(msgspec.structs.replace(BROKE, code=0), ("non_finite",)).status == "failed"


def test_the_worst_result_of_several_nets_counts() -> None:
    good, bad = Result("passed", "fine."), Result("failed", "not fine.", output="lines")
    assert together([("a", good), ("b", bad)]) == replace(bad, found="a: fine. b: not fine.")
    assert together([("a", good), ("b", replace(bad, status="undecided"))]).status == "undecided"


# Processes


def die(place: Place) -> Result:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hang(place: Place) -> Result:
    place.run("/bin/sh", "-c", "sleep 1000")
    raise AssertionError


def lack(place: Place) -> Result:
    place.run("/bin/sh", "-c", "echo what it printed; exit 7")
    raise AssertionError


def err(place: Place) -> Result:
    print("before")
    return Result("passed", str(1 / 0))


@pytest.mark.parametrize(
    ("function", "found", "output"),
    [
        (die, "exit code -9", ""),
        (hang, "stopped after 1 s", ""),
        (lack, "`/bin/sh -c echo what it printed; exit 7` ended with exit code 7.", "what it printed"),
        (err, "ZeroDivisionError: division by zero", "return Result("),
    ],
)
def test_whatever_happens_to_a_check_is_its_result(
    function: Callable[[Place], Result], found: str, output: str, tmp_path: Path
) -> None:
    result = run(Check("one", "Is it?", function, 1), Place(tmp_path, None), 1 if function is hang else 60)
    assert result.status == "failed"
    assert found in result.found
    assert output in result.output
    assert not [child for child in psutil.Process().children(recursive=True) if "1000" in child.cmdline()]


# The command


def test_the_command_writes_its_report(tmp_path: Path) -> None:
    names = ("selftest", "probes", "break", "nan", "full-speed")
    done = command(TOOL, "--cpu", "--out", "report.md", "--only", *names, cwd=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert done.code == 0, text
    assert done.stdout == f"{tmp_path}/report.md\n"
    assert "**3 passed, 1 measured, 1 skipped.**" in text
    assert "| lenet, all of it captured in a window |" in text
    assert list(tmp_path.iterdir()) == [tmp_path / "report.md"]


def test_a_report_is_there_from_the_beginning(tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    with started(TOOL, "--cpu", "--out", out, "--only", "repeats", cwd=tmp_path) as process:
        wait_for(out.exists, process)
        assert "**1 not begun.** The checks are still running, or were killed." in out.read_text()
        family = wait_for(lambda: psutil.Process(process.pid).children(recursive=True), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert "**1 not begun.** The checks were interrupted." in out.read_text()
    wait_for(lambda: all(map(has_ended, family)))
    assert list(tmp_path.iterdir()) == [out]


def test_checks_beyond_the_time_limit_are_not_begun(tmp_path: Path) -> None:
    done = command(TOOL, "--cpu", "--out", "report.md", "--only", "nan", "--time-limit", "1s", cwd=tmp_path)
    assert done.code == 1
    assert "The time limit was reached (--time-limit)." in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--time-limit", "50"), "--time-limit 50: not a time. Give"),
        (("--out", "/proc/no/report.md"), "--out /proc/no: cannot be written to"),
        (("--out", "{tmp}/report.md", "--work", "/proc/no"), "--work /proc/no: cannot be written to"),
        (("--only", "bits"), "invalid choice: 'bits'"),
    ],
)
def test_bad_input_is_refused(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main([*(option.format(tmp=tmp_path) for option in options), "--cpu"])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_device_that_is_no_number_is_refused_before_anything_is_built() -> None:
    done = command(TOOL, "--device", "first")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "check_gpu: --device first: give the number of a GPU, as nvidia-smi lists them\n"


def test_the_help_names_all_checks() -> None:
    text = " ".join(command(TOOL, "--help").stdout.split())
    assert f"only these checks: {' '.join(check.name for check in CHECKS)} " in text


# The driver

LIBRARY = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuGetErrorName(int error, const char **text) { *text = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int number) { *device = 70 + number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, device == 71 ? "A card" : "?", size); return 0; }
int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)141 << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
"""


def driver(home: Path, init: int) -> str:
    (home / "driver.c").write_text(LIBRARY)
    library = home / "libdriver.so"
    done = command("/usr/bin/cc", "-shared", "-fPIC", f"-DINIT={init}", home / "driver.c", "-o", library)
    assert done.code == 0, done.stderr
    return str(library)


def test_a_card_is_described_by_its_driver(tmp_path: Path) -> None:
    library = driver(tmp_path, 0)
    card = find_card(1, library)
    assert (card.name, card.compute_capability, card.memory_gib, card.cuda) == ("A card", "9.0", 141, "13.1")
    for number in (2, -1):
        with pytest.raises(NoGpu, match=rf"--device {number}: there is no such GPU. Give one of .*: 0, 1"):
            find_card(number, library)


def test_a_machine_without_a_gpu_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoGpu, match=r"driver \(libnone.so.1\) is not installed here. Install .*, or give --cpu"):
        find_card(0, "libnone.so.1")
    with pytest.raises(NoGpu, match=r"answers with CUDA_ERROR_NO_DEVICE. See what nvidia-smi says, or give --cpu"):
        find_card(0, driver(tmp_path, 100))
