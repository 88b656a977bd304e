"""Caffe's names for what other frameworks, and users, call otherwise."""

from __future__ import annotations

_SOLVER = {
    "base_lr": "lr learning_rate learningrate rate alpha eta",
    "clip_gradients": "clip clip_gradient gradient_clip gradient_clipping grad_clip clip_norm clipnorm max_norm",
    "delta": "eps epsilon",
    "device_id": "gpu device",
    "iter_size": "accumulate accumulation",
    "lr_policy": "policy schedule scheduler lr_schedule",
    "max_iter": "iterations iters max_iters max_iterations steps until",
    "momentum": "beta1 mom",
    "momentum2": "beta2",
    "random_seed": "seed",
    "stepsize": "step step_size",
    "type": "optimizer optimiser solver",
    "weight_decay": "wd decay l2 regularization weightdecay",
}
_LAYER = {
    "lr_mult": "lr learning_rate rate blobs_lr mult",
    "decay_mult": "wd decay weight_decay",
    "dropout_ratio": "dropout ratio rate",
    "batch_size": "batch batchsize",
    "num_output": "filters channels outputs units classes",
    "kernel_size": "kernel",
    "crop_size": "crop",
    "mirror": "flip",
}


def solver_field(word: str) -> str | None:
    """Return the field of the solver that `word` may mean; None if none is known."""
    return _named(word, _SOLVER)


def layer_field(word: str) -> str | None:
    """Return the field of a layer that `word` may mean; None if none is known."""
    return _named(word, _LAYER)


def _named(word: str, known: dict[str, str]) -> str | None:
    return next((field for field, words in known.items() if word.lower() in words.split()), None)
