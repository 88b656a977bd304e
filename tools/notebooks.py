"""Execute the notebooks on the demo's run and its restarts, and write them back with their outputs.

    .venv/bin/python -m tools.notebooks [FILE…]     (default: all of notebooks/)

Time stamps, durations and paths, which change with every execution or machine, are left out, so that a commit shows
only differences of the results. A warning is an error. The notebooks need runs/demo, which tools/demo makes, with its
explain.json (`python harness/explain.py runs/demo`), and the restarts that notebooks/restart_study.ipynb names.
"""

import argparse
import base64
import hashlib
import os
import tempfile
from io import BytesIO
from pathlib import Path

import nbformat
import papermill
from PIL import Image

from harness.atomic_write import write_whole
from tools.machine_paths import without_machine

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
# ipykernel itself raises one when it shuts down
WARNINGS = "error,ignore::PendingDeprecationWarning"


def executed(path: Path) -> nbformat.NotebookNode:
    """Execute all cells of the notebook at `path` in a kernel of this Python, and return it."""
    os.environ |= {"PYTHONWARNINGS": WARNINGS, "JUPYTER_PREFER_ENV_PATH": "1"}
    with tempfile.TemporaryDirectory() as home:
        target = Path(home) / path.name
        papermill.execute_notebook(path, target, kernel_name="python3", cwd=NOTEBOOKS, progress_bar=False)
        notebook: nbformat.NotebookNode = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
        return notebook


def strip(notebook: nbformat.NotebookNode) -> None:
    """Keep what a reader sees, and a digest of the cells that were executed."""
    notebook.metadata = {
        "executed": digest(notebook),
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind, text in data.items():
                if kind.startswith("text/"):
                    data[kind] = without_machine(text)
            if "text" in output:
                output.text = without_machine(output.text)
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])


def digest(notebook: nbformat.NotebookNode) -> str:
    """Hash the sources of all code cells."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def smaller(picture: str) -> str:
    """Reduce a PNG to 256 colours: half the size, without a visible difference."""
    image = Image.open(BytesIO(base64.b64decode(picture))).convert("RGB")
    file = BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="a notebook")
    for path in parser.parse_args().files or sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = executed(path)
        strip(notebook)
        text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
        write_whole(path, f"{text}\n")
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
