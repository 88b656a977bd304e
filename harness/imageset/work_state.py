"""The progress of the work, in an LMDB of its own that is written after every batch of records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import lmdb

from harness.caffe_files.formatting import printable
from harness.imageset.counts import SetCounts
from harness.imageset.growing_lmdb import open_lmdb
from harness.imageset.mean import Sums
from harness.imageset.problems import Problem
from harness.imageset.record import ConvertedImage

_MAP_SIZE = 1 << 36  # address space, not disk: about 100 bytes per image are needed

Transaction: TypeAlias = "lmdb.Transaction[Any]"  # a class that is generic only in its stub


class WorkState:
    """Counts, sums, problems, and the digests of all images so far. Methods with a transaction write within it."""

    def __init__(self, path: Path) -> None:
        self._environment = open_lmdb(path, _MAP_SIZE, max_dbs=2)
        self._seen = self._environment.open_db(b"seen")
        self._problems = self._environment.open_db(b"problems", integerkey=True)

    def close(self) -> None:
        self._environment.close()

    def write(self) -> Transaction:
        """Begin a transaction for writing; a context manager."""
        return self._environment.begin(write=True)

    def read(self) -> tuple[dict[str, SetCounts], Sums]:
        """Read the counts of each set, and the sums."""
        with self._environment.begin() as transaction:
            saved = json.loads(transaction.get(b"tallies", b"{}"))
            counts = {name: SetCounts(**fields) for name, fields in saved.items()}
            sums = transaction.get(b"sums")
            return counts, Sums.from_bytes(bytes(sums)) if sums else Sums()

    def problems(self) -> Iterator[Problem]:
        """Yield all problems in the order in which they were found."""
        with self._environment.begin() as transaction:
            for _, text in transaction.cursor(db=self._problems):
                yield Problem(**json.loads(bytes(text)))

    def put_counts(self, transaction: Transaction, counts: Mapping[str, SetCounts]) -> None:
        transaction.put(b"tallies", json.dumps({name: asdict(of_set) for name, of_set in counts.items()}).encode())

    def put_sums(self, transaction: Transaction, sums: Sums) -> None:
        transaction.put(b"sums", sums.to_bytes())

    def put_problems(self, transaction: Transaction, problems: Sequence[Problem]) -> None:
        if problems:
            first = transaction.stat(self._problems)["entries"]
            for number, problem in enumerate(problems, first):
                text = json.dumps(asdict(problem)).encode()
                transaction.put(number.to_bytes(8, "little"), text, db=self._problems)

    def find_copy(self, transaction: Transaction, image: ConvertedImage) -> tuple[int, str] | None:
        """Find an earlier image with the same content, preferably in the same class; its label and path.

        If `image` is the first with this content, or the first of its class, it is noted.
        """
        value = b"%d %b" % (image.label, image.path)
        if transaction.put(image.digest, value, overwrite=False, db=self._seen):
            return None
        label, _, path = bytes(transaction.get(image.digest, b"", db=self._seen)).partition(b" ")
        if int(label) != image.label:
            of_class = image.digest + b"%d" % image.label
            if not transaction.put(of_class, image.path, overwrite=False, db=self._seen):
                return image.label, printable(bytes(transaction.get(of_class, b"", db=self._seen)))
        return int(label), printable(path)
