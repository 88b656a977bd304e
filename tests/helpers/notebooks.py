"""What a reader of an executed notebook sees."""

from __future__ import annotations

import re
from dataclasses import dataclass

import nbformat

from tests.helpers.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Shown:
    """What a reader of an executed notebook sees: texts by the id of the cell, and which cells show a picture."""

    text: dict[str, str]
    pictures: list[str]

    @property
    def all(self) -> str:
        return "\n".join(self.text.values())


def shown(notebook: nbformat.NotebookNode) -> Shown:
    """Fails on what should not face a reader."""
    text, pictures = {}, []
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
