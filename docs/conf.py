"""Configure Sphinx: MyST Markdown, the Furo theme, and pages that load nothing from other hosts.

.venv/bin/sphinx-build -W --keep-going -b html docs docs/_build
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs/_extensions")]

import harness  # noqa: E402

project = "caffe-harness"
author = "the caffe-harness authors"
version = release = harness.__version__
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
    "sphinx_argparse_cli",
    "alarm_rules",
    "module_table",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # links such as logs.md#verdicts

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"npt.NDArray": "numpy.ndarray"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 240

default_role = "code"  # of `backquotes` in docstrings, which are read as reStructuredText

graphviz_output_format = "svg"

html_theme = "furo"
html_title = f"caffe-harness {release}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False
templates_path: list[str] = []


def escape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Take `*` and `_{` in docstrings, as in (W, *shape) and W_{t+1}, for themselves and not for markup.

    An empty first line keeps napoleon from taking the text before a colon for the type of a property.
    """
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"(\*|_(?=\{))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "`".join(parts)
    if what in ("attribute", "property"):
        lines.insert(0, "")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon
