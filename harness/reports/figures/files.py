"""Write figures to files, each completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from harness.errors import BadInput
from harness.reports.figures.style import styled

FORMATS = (".png", ".svg")


def check_suffix(path: Path) -> None:
    """Check the format of the file to draw.

    Raises:
        BadInput: its suffix stands for no known format.
    """
    if path.suffix.lower() not in FORMATS:
        raise BadInput(
            "not a known picture format", field="--plot", value=path,
            remedy=f"Give a file name that ends in {' or '.join(FORMATS)}",
        )  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    """Write one figure."""
    # without a date, the same log gives the same SVG
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None

    def write(part: Path) -> None:
        with styled(), mpl.rc_context({"svg.hashsalt": "caffe-harness", "svg.fonttype": "none"}):
            figure.savefig(part, dpi=120, format=path.suffix[1:].lower(), metadata=metadata)

    _whole(path, write)


def write_pngs(figures: Mapping[str, Figure], path: Path) -> Sequence[Path]:
    """Write each figure to a file of its own: `path` with the figure's name added."""
    written = [path.with_name(f"{path.stem}-{name}.png") for name in figures]
    for figure, target in zip(figures.values(), written, strict=True):
        save(figure, target)
    return written


def write_pdf(figures: Mapping[str, Figure], path: Path) -> Sequence[Path]:
    """Write each figure to a page of its own."""
    from matplotlib.backends.backend_pdf import PdfPages  # takes long to import

    def write(part: Path) -> None:
        with styled(), PdfPages(part) as pages:
            for figure in figures.values():
                figure.savefig(pages, format="pdf")

    _whole(path, write)
    return [path]


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
