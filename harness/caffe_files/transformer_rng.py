"""Random numbers of a data layer's transformer (DataTransformer, data_transformer.cpp)."""

from __future__ import annotations

import numpy as np

from harness.caffe_files.messages import pb

_CHUNK = 1 << 22  # outputs skipped at once: 15 ms, between which a signal is handled


def draws_per_image(transform: pb.TransformationParameter, phase: str) -> int:
    """Count the outputs of the generator that one image takes (data_transformer.cpp: Transform, InitRand).

    One for `mirror`, in both phases; two for the offsets of a crop, which in phase TEST is centred.
    """
    return int(transform.mirror) + 2 * int(transform.crop_size > 0 and phase == "TRAIN")


def mt19937(seed: int, draws: int) -> np.random.MT19937:
    """Return a generator like Caffe's, seeded with `seed` (32 bits), after `draws` outputs; draw with `random_raw`.

    boost's mt19937 is seeded like numpy's legacy generator.
    """
    twister = np.random.MT19937()
    twister._legacy_seeding(seed)
    while draws > 0:
        twister.random_raw(min(draws, _CHUNK), output=False)
        draws -= _CHUNK
    return twister
