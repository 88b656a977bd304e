"""Contents of run.json and of the JSON beside a snapshot.

Both repeat what a training computes with (`TrainingSetup`), so that a restart needs no other file.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from harness.schemas.data_position import Seed, TrainingPosition
from harness.schemas.layout import Head
from harness.schemas.onset import Onset

Iteration = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]  # Caffe counts in int
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^(?!\.{1,2}$)[^/]+$")]  # never a path to another directory
PathName = Annotated[str, msgspec.Meta(max_length=4095, pattern="^[^/]{0,255}(/[^/]{0,255})*$")]
DigestKind = Literal["xxh3", "multilinear"]  # how weights are hashed (weight_digest.py)
NEW_DIGESTS: DigestKind = "multilinear"  # of a training that continues no other
Prototxt = Annotated[str, msgspec.Meta(max_length=64 << 20)]  # as large as a file may be (messages.py)

RUN_INFO_VERSION = 1
SNAPSHOT_INFO_VERSION = 1


class DataSource(msgspec.Struct, frozen=True):
    """The records that a data layer read: the hash of all of them, and their number."""

    fingerprint: str
    records: int


class Gpu(msgspec.Struct, frozen=True):
    """A GPU with its driver and libraries: others may give other bits."""

    name: str
    compute_capability: str
    driver: str
    cupy: str


class Blas(msgspec.Struct, frozen=True):
    """The kernels and threads of OpenBLAS, as it reports them; None with another BLAS. Others give other bits."""

    core: str | None = None
    threads: int | None = None


class Change(msgspec.Struct, frozen=True):
    """One value that an edit has changed, in text format.

    Attributes:
        where: "solver", or "layer data (TRAIN)": the phase where the layer's `include` names one.
        field: its path, as in `dropout_param.dropout_ratio`.
        old: what it was; "(default) 0.5" where it was not set, "(none)" for an empty list.
        new: what it is, likewise.
    """

    where: str
    field: str
    old: str
    new: str

    @property
    def words(self) -> str:
        """The change in a few words: `base_lr 0.01 → 0.001`, `clip_gradients 10`, `conv1: lr_mult 1 → 0.1`."""
        where = "" if self.where == "solver" else f"{self.where.removeprefix('layer ')}: "
        was_set = not self.old.startswith("(")
        before = f"{self.old.removesuffix('.0')} → " if was_set else ""
        return f"{where}{self.field} {before}{self.new.removesuffix('.0')}"


class Parent(msgspec.Struct, frozen=True):
    """The run that a restart continues, before `iteration`, and what was changed.

    `skip` are iterations whose data are passed over once, and `skip_records` the keys of records that are left out from
    here on.
    """

    run: PathName
    iteration: Iteration
    reason: str = ""
    changes: tuple[Change, ...] = ()
    history: str = "keep"
    skip: str | None = None
    skip_records: tuple[str, ...] = ()

    @property
    def changes_something(self) -> bool:
        """The restart does not just go on as the run would have done."""
        return bool(self.changes or self.skip or self.skip_records) or self.history != "keep"

    @property
    def summary(self) -> str:
        """The changes of the restart, in a few words."""
        changes = [change.words for change in self.changes]
        changes += [f"history {self.history}"] if self.history != "keep" else []
        changes += [f"without the data of {self.skip}"] if self.skip else []
        if self.skip_records:
            first, *more = self.skip_records
            changes.append(f"without record {first}" + (f" and {len(more):,} more" if more else ""))
        return ", ".join(changes) or "nothing changed"


class CopiedWeights(msgspec.Struct, frozen=True):
    """Layers that took weights from the caffemodel `file`, those that are new, and those in the file only."""

    file: str
    copied: tuple[str, ...]
    skipped: tuple[str, ...]
    new: tuple[str, ...]


class Replay(msgspec.Struct, frozen=True):
    """The replay that brought the random numbers to their position: `iterations` from `first` on were drawn again."""

    first: int
    iterations: int
    seconds: float


class NativeStart(msgspec.Struct, frozen=True, kw_only=True):
    """The start of the process of `caffe train` that wrote a snapshot.

    There the data began at its first record, and the random numbers were seeded.

    Attributes:
        iteration: 0, or where `caffe train --snapshot` resumed.
        known_from: the log that says so, or "--native-start"; None if it is assumed.
        suspected: where other snapshots beside this one suggest that the training was resumed; None if nowhere.
        solver_type: of the solver that wrote the snapshot, as that log has it; None if it is not known.
    """

    iteration: int
    known_from: str | None = None
    suspected: int | None = None
    solver_type: str | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of the weights of a run, by digest, with those that other runs recorded of the same iterations.

    Attributes:
        against: the run directories that they were compared with: the run that it continues, then its continuations.
        unchanged_through: the last t whose W_t was compared, because a change acts on later ones; None: no change does.
        first, through: the first and the last iteration that was compared; None if none was.
        compared, equal: the number of iterations that were compared, and of those whose weights are equal.
        first_difference: the first t whose W_t differs; None if none does.
        final: the weights after the last iteration are equal; None if they were not compared.
        problem: why nothing, or nothing further, was compared.
    """

    against: tuple[str, ...] = ()
    unchanged_through: int | None = None
    first: int | None = None
    through: int | None = None
    compared: int = 0
    equal: int = 0
    first_difference: int | None = None
    final: bool | None = None
    problem: str | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a run.

    Attributes:
        code: the exit code; None when the worker wrote this in place of a supervisor that had died.
        onset: of a divergence that lasts; None for a healthy run, unset if the rules were not applied to the end.
        iteration: the next iteration; None when the worker died.
        weight_digest: of the weights after the last iteration, as hex.
        last_loss: what Caffe displays after the last iteration, if that is a display.
        last_words: what Caffe printed before it died.
    """

    code: int | None = None
    how: str
    at: str | None = None
    onset: Onset | msgspec.UnsetType | None = msgspec.UNSET
    last_words: tuple[str, ...] = ()
    iteration: Iteration | None = None
    weight_digest: Digest | None = None
    last_loss: float | None = None

    @property
    def has_alarms(self) -> bool:
        """The supervisor applied the rules to every iteration, so that the recording holds all alarms."""
        return self.onset is not msgspec.UNSET


class TrainingSetup(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the bits of a training depend on.

    Attributes:
        solver: the effective solver, as a prototxt.
        net: the train net with the layers of its phase, as a prototxt; `test_nets` likewise.
        caffe: the build's build.json, and its path.
        mode: "CPU" or "GPU 0".
        data: by `source`, as the net has it.
        point: the position in data and random numbers, before the next iteration.
        digest_kind: how the weights are hashed, here and in the recording: as in what it continues. Files of 0.2 and
            older do not have it.
    """

    solver: Prototxt
    net: Prototxt
    test_nets: tuple[Prototxt, ...]
    random_seed: Seed
    blas_threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    caffe: dict[str, object]
    mode: str
    gpu: Gpu | None = None
    data: dict[str, DataSource]
    blas: Blas | None = None
    point: TrainingPosition
    digest_kind: DigestKind = "xxh3"

    def __post_init__(self) -> None:
        for place in self.point.inputs:
            if place.net > len(self.test_nets):
                raise ValueError(f"point: layer {place.layer} is in net {place.net}, which is not among test_nets")


class RunInfo(TrainingSetup, frozen=True, kw_only=True):
    """run.json.

    Attributes:
        directory: from which relative paths count; empty where that is the run directory itself, as of a capsule.
        step: Caffe's current_step at iteration `first`.
        weights: caffemodels that the run was fine-tuned from.
        resume: the solverstate that it continues from.
        native_start: where the process began that wrote the snapshot of `caffe train` that it continues; else None.
        goes_on_from: the run directory that recorded the iterations before `first`.
        until: the iteration before which it ends.
        skip_records: the keys of all records that it leaves out of the training data, with those that the run left out
            which it continues.
        windows: as "A:B", half open.
        display: why the user was shown nothing from some iteration on; None if all was shown.
        not_exact: what keeps it from repeating the training that it continues, bit for bit, as far as that is known.
        exact_if: what must hold besides for it to repeat that training, and cannot be seen from outside.
        verified: how its weights compare with those of the run that it continues; None for a new training, and while
            the run is in progress.
        ended: None while the run is in progress.
    """

    format_version: int = RUN_INFO_VERSION
    command: tuple[str, ...] = ()
    directory: PathName
    harness: str
    started: str
    machine: str
    solver_file: str
    heads: tuple[Head, ...]
    relus: tuple[str, ...]
    random_seed_drawn: bool
    versions: dict[str, str]
    weights: tuple[str, ...]
    resume: PathName | None
    parent: Parent | None
    goes_on_from: PathName | None
    step: Iteration
    first: Iteration
    until: Iteration
    windows: tuple[str, ...]
    capture: tuple[str, ...]
    on_alarm: str
    not_exact: tuple[str, ...]
    exact_if: tuple[str, ...] = ()
    skip_records: tuple[str, ...] = ()
    native_start: NativeStart | None = None
    replayed: Replay | None = None
    copied: tuple[CopiedWeights, ...] = ()
    display: str | None = None
    verified: Verification | None = None
    ended: Ended | None = None


class SnapshotHealth(msgspec.Struct, frozen=True):
    """Health of the run when a snapshot was taken, as known at iteration `through`."""

    through: int
    onset: Onset | None


class SnapshotInfo(TrainingSetup, frozen=True, kw_only=True):
    """The JSON beside a snapshot: the names of its files, and what it takes to continue from it.

    Attributes:
        step: Caffe's current_step.
        history_digest: of the history in the solverstate, as hex (history_digest.py).
        layer_state: the file with what layers keep outside their params (stateful_layers.py); None if no layer does, or
            if it could not be read.
        layer_state_digest: of that file, as hex.
        digest: of all other fields, as hex (metadata.py). It and the ones above are None in files of 0.2 and older.
    """

    format_version: int = SNAPSHOT_INFO_VERSION
    iteration: Iteration
    weight_digest: Digest
    step: int | None = None
    history_digest: Digest | None = None
    caffemodel: FileName
    solverstate: FileName
    layer_state: FileName | None = None
    layer_state_digest: Digest | None = None
    health: SnapshotHealth | None = None
    digest: Digest | None = None
