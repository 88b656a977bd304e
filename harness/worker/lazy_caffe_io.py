"""Importing this before caffe puts caffe.io off until something uses it.

`import caffe` imports caffe.io, and that scikit-image and SciPy: two thirds of the processor time that the import
takes, for scaling and writing images, which no training does. A Python layer that uses caffe.io finds it as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


class _Finder:
    """Finds caffe.io where it is, and has it executed at the first look at what it holds."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "caffe.io" else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder)
