"""Look at images of a list, or of a window file, before training starts: at all of them, or at a part of many."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from harness.caffe_files.image_survey import DECODED, Images, Survey
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.window_file import WindowFile
from harness.errors import BadInput
from harness.supervisor.apart import call_apart
from harness.supervisor.validation.records import named_damage

_MOST = 1000  # files that are opened: some seconds on a slow disk


def survey_list(records: Records, root: str, where: str) -> Images | None:
    """Look at images of the list `records`, whose paths follow `root`. Returns None if they crash the decoder.

    Raises:
        BadInput: one cannot be decoded. `where` names the layer.
    """
    numbers = np.unique(np.linspace(0, len(records) - 1, _MOST).astype(np.int64)).tolist()
    keys = [bytes(records.keys[number]) for number in numbers]
    found = _survey(keys, root, where, "image_data_param.source", str(records.source))
    if found is None:
        return None
    of = np.full(len(records), -1, np.int32)
    of[numbers] = found.of
    return Images(found.kinds, of)


def check_windowed_images(windows: WindowFile, root: str, where: str) -> None:
    """Look at images of a window file, whose paths follow `root`.

    Raises:
        BadInput: one cannot be decoded; Caffe goes on with black windows. `where` names the layer.
    """
    numbers = np.unique(np.linspace(0, len(windows.images) - 1, _MOST).astype(np.int64)).tolist()
    keys = [os.fsencode(windows.images[number]) for number in numbers]
    _survey(keys, root, where, "window_data_param.source", str(windows.source))


def _survey(keys: Sequence[bytes], root: str, where: str, field: str, source: str) -> Images | None:
    found = call_apart(_look, [os.fsencode(root) + key for key in keys])
    if found is not None and found.damaged:
        raise BadInput(
            f"{len(found.damaged):,} of the images that were looked at cannot be used: {named_damage(found, keys)}",
            file=where,
            field=field,
            value=source,
            remedy="Replace these files, or remove their lines: Caffe cannot decode them",
        )
    return found


def _look(paths: Sequence[bytes]) -> Images:
    """Look at files; if they are large, at every second, third … of them."""
    step = max(1, -(-sum(os.path.getsize(path) for path in paths) // DECODED))  # noqa: PTH202  # paths of bytes
    survey = Survey(0)
    for number, path in enumerate(paths):
        if number % step:
            survey.skip(1)
        else:
            survey.add_file(path)
    return survey.images
