"""The digest of weights: what it is, what changes it, and that every way to compute it gives the same."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.caffe_files.weight_digest import digest_of
from harness.worker.probes.moments import Moments, WeightMoments
from tests.helpers.paths import ROOT
from tests.helpers.processes import command
from tests.helpers.weight_digests import expected_digest, keys, mixed

Floats = npt.NDArray[np.float32]
RANDOM = np.random.default_rng(8)

BLOB = arrays_of.arrays(np.uint32, st.integers(0, 70)).map(lambda bits: bits.view(np.float32))
BLOBS = st.lists(BLOB, max_size=4)


def digest(*blobs: npt.ArrayLike) -> int:
    arrays = [np.ascontiguousarray(blob, np.float32) for blob in blobs]
    found = WeightMoments(arrays).measure()[1]
    assert found == digest_of(arrays, "multilinear")
    return found


def by_definition(*blobs: Floats) -> int:
    return expected_digest(blob.tobytes() for blob in blobs)


def test_splitmix64_is_the_published_one() -> None:
    """The first outputs for the seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64")."""
    states = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(BLOBS)
def test_it_is_as_defined(blobs: list[Floats]) -> None:
    assert digest(*blobs) == by_definition(*blobs)


@pytest.mark.parametrize("sizes", [(1023,), (1024,), (1025,), (5, 1019, 3), (3000, 20, 1030), (70_000, 65_536)])
def test_rows_of_keys_go_through_all_blobs(sizes: tuple[int, ...]) -> None:
    assert digest(*(blobs := [RANDOM.normal(size=n).astype(np.float32) for n in sizes])) == by_definition(*blobs)


@given(BLOB.filter(len), st.data())
def test_every_bit_matters(blob: Floats, data: st.DataObject) -> None:
    """As sign, 0 and -0, the payload of a NaN."""
    changed = blob.copy()
    changed.view(np.uint32)[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 31))
    assert digest(changed) != digest(blob)


@given(BLOB, BLOB)
def test_order_and_place_matter(one: Floats, two: Floats) -> None:
    both = np.r_[one, two]
    if one.tobytes() + two.tobytes() != two.tobytes() + one.tobytes():
        assert digest(one, two) != digest(two, one)
    for changed in (both[::-1], np.roll(both, 1), -both):
        if changed.tobytes() != both.tobytes():
            assert digest(changed) != digest(both)


@given(BLOB, st.integers(1, 3))
def test_zeros_matter(blob: Floats, zeros: int) -> None:
    nothing = np.zeros(zeros, np.float32)
    found = {digest(blob), digest(np.r_[blob, nothing]), digest(np.r_[blob, nothing, 0])}
    assert len(found) == 3
    if blob.any():
        assert digest(np.r_[nothing, blob]) not in found


def test_changes_do_not_cancel_out() -> None:
    """Swaps of any two of 2,000 elements, and flips of the signs of any two, all give different digests."""
    blob = RANDOM.normal(size=2000).astype(np.float32)
    p = np.arange(len(blob), dtype=np.uint64)
    key = keys(p % np.uint64(1024)) * keys(1024 + p // np.uint64(1024))
    pairs = np.triu_indices(len(blob), 1)
    bits = blob.view(np.uint32).astype(np.uint64)
    swaps = (key[pairs[0]] - key[pairs[1]]) * (bits[pairs[1]] - bits[pairs[0]])
    flips = (bits ^ np.uint64(1 << 31)) - bits
    signs = key[pairs[0]] * flips[pairs[0]] + key[pairs[1]] * flips[pairs[1]]
    assert swaps.all()
    assert signs.all()
    swapped = blob.copy()
    swapped[[3, 1500]] = swapped[[1500, 3]]
    assert digest(swapped) == (digest(blob) + int(swaps[(pairs[0] == 3) & (pairs[1] == 1500)][0])) % 2**64


def test_the_norms_are_the_same_as_without_it() -> None:
    blobs = [RANDOM.normal(size=n).astype(np.float32) for n in (1, 31, 33, 5000, 0)]
    blobs += [np.array([1, np.nan, -7], np.float32), np.array([np.inf, 1], np.float32)]
    np.testing.assert_array_equal(WeightMoments(blobs).measure()[0], Moments("norms", blobs).measure())


@pytest.fixture(scope="module")
def every_version(tmp_path_factory: pytest.TempPathFactory) -> list[Callable[..., int]]:
    """moments.c as it is compiled for each generation of CPUs, of those that this one has."""
    folder = tmp_path_factory.mktemp("versions")
    found: list[Callable[..., int]] = []
    flags = Path("/proc/cpuinfo").read_text()
    for name, needed in (("x86-64", "sse2"), ("x86-64-v3", "avx2"), ("x86-64-v4", "avx512dq")):
        if needed in flags:
            library = folder / f"{name}.so"
            versions = (f"-march={name}", "-DEVERY_CPU=", f"-DHAS_AVX512={int(name == 'x86-64-v4')}")
            source = ROOT / "harness/worker/probes/moments.c"
            done = command("cc", *versions, "-O3", "-shared", "-fPIC", source, "-lm", "-o", library)
            assert done.code == 0, done.stderr
            weights = ctypes.CDLL(str(library)).weights
            weights.restype = ctypes.c_uint64
            found.append(weights)
    return found


def test_every_instruction_set_gives_the_same(every_version: list[Callable[..., int]]) -> None:
    assert every_version
    blobs = [RANDOM.normal(size=n).astype(np.float32) for n in (1, 20, 1003, 500, 4099)]
    moments = Moments("norms", blobs)
    assert {weights(*moments.arguments) for weights in every_version} == {digest(*blobs)}


def test_the_digest_of_older_runs_is_that_of_the_bytes() -> None:
    blobs = [RANDOM.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    assert digest_of(blobs, "xxh3") == xxhash.xxh3_64_intdigest(b"".join(blob.tobytes() for blob in blobs))
