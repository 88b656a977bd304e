"""Notebooks as they are committed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import harness
from harness.reports import figures
from tests.helpers.notebooks import NOTEBOOKS, read_notebook, shown

# cells without output: parameters, imports, definitions
SILENT = {
    "case_119040": ["parameters"],
    "post_mortem": ["parameters", "imports"],
    "restart_study": ["parameters", "imports", "levels"],
    "why_it_broke": ["parameters", "imports"],
}
BIGGEST = 1_000_000  # bytes
# an absolute path of a machine; not a part of a name, as in layer/0
MACHINE = re.compile(r"(?<![\w.…~-])/(?:work|home|root|tmp|usr|var|opt|mnt|media|srv|data|Users)/")


@pytest.mark.parametrize("name", SILENT)
def test_committed_notebooks_are_executed_small_and_free_of_machine_paths(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < BIGGEST
    notebook = read_notebook(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    sources = hashlib.sha256("\0".join(cell.source for cell in code).encode()).hexdigest()[:16]
    assert notebook.metadata["executed"] == sources, "cells changed since: python -m tools.notebooks"
    silent = [cell for cell in code if not cell.outputs]
    assert [cell.id for cell in silent] == SILENT[name]
    assert [cell.metadata.tags for cell in code if cell.metadata.get("tags")] == [["parameters"]]
    assert notebook.metadata.kernelspec.name == "python3"
    assert shown(notebook).pictures
    texts = json.dumps(without_pictures(notebook), ensure_ascii=False)
    for found in MACHINE.finditer(texts):
        pytest.fail(texts[max(0, found.start() - 40) : found.end() + 40])
    assert str(Path.home()) == "/root" or str(Path.home()) not in texts


def test_every_notebook_is_tested() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == list(SILENT)


@pytest.mark.parametrize("name", SILENT)
def test_only_the_public_api_is_imported(name: str) -> None:
    cells = read_notebook(NOTEBOOKS / f"{name}.ipynb").cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    imports = re.findall(r"^(?:import|from) harness.*", code, re.MULTILINE)
    assert imports == ["import harness", "from harness.reports import figures"]
    used = set(re.findall(r"(?<![/\w])harness\.([a-zA-Z]\w+)", code)) - {"reports"}
    assert used
    assert used <= set(harness.__all__)
    drawn = set(re.findall(r"\bfigures\.(\w+)", code))
    assert drawn <= set(figures.__all__)


def without_pictures(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_pictures(value) for key, value in node.items() if key != "image/png"}
    return [without_pictures(value) for value in node] if isinstance(node, list) else node
