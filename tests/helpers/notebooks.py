"""The visible output of notebooks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from tests.helpers.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Shown:
    """The visible output of a notebook: texts by the id of the cell, and the ids of the cells with a picture."""

    text: dict[str, str]
    pictures: list[str]

    @property
    def all(self) -> str:
        return "\n".join(self.text.values())


def read_notebook(path: Path) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def shown(notebook: nbformat.NotebookNode) -> Shown:
    """Collect what a reader sees; fail on warnings, tracebacks and bare values."""
    text: dict[str, str] = {}
    pictures: list[str] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type in ("display_data", "execute_result"), f"{cell.id}: {output}"
            if "image/png" in output.data:
                pictures.append(cell.id)
                assert len(output.data) == 2, f"{cell.id}: a picture and its repr"
            else:
                text[cell.id] = output.data.get("text/markdown", output.data.get("text/plain"))
                assert "Warning" not in text[cell.id], f"{cell.id}: {text[cell.id]}"
                assert "Traceback" not in text[cell.id], f"{cell.id}: {text[cell.id]}"
                assert not re.search(r"\bNone\b", text[cell.id]), f"{cell.id}: {text[cell.id]}"
    return Shown(text, pictures)
