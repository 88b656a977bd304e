"""Import of caffe.io at its first use: import this module before caffe.

`import caffe` imports caffe.io, and that imports scikit-image and SciPy, which takes two thirds of the processor time
of the import. They scale and write images, which no training does. A Python layer that uses caffe.io works as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


class _Finder:
    """Finds caffe.io, and has it executed at the first access to one of its attributes."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "caffe.io" else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder)
