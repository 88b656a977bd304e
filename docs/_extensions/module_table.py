"""The directive `module-table`: the modules of a package of `harness` with the first sentence of each docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

HARNESS = Path(__file__).parents[2] / "harness"


def summary(path: Path) -> str:
    """Return the first sentence of the docstring of the module `path`, without importing it.

    Raises:
        ValueError: it has none.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if not docstring:
        raise ValueError(f"{path}: no docstring")
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


def modules(package: Path) -> Iterator[Path]:
    """Yield the modules below `package`, those of a package itself before those of its subpackages."""
    files = sorted(package.glob("*.py"))
    yield from (file for file in files if file.name != "__init__.py")
    for child in sorted(path.parent for path in package.glob("*/__init__.py")):
        yield from modules(child)


class ModuleTable(SphinxDirective):
    """Render the modules of the package that the argument names; `.` stands for the modules of `harness` itself."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        files = sorted(HARNESS.glob("*.py")) if name == "." else list(modules(HARNESS / name))
        if not files:
            raise self.error(f"harness/{name}: no modules")
        table = nodes.bullet_list(classes=["modules"])
        for file in files:
            self.env.note_dependency(file)
            line = nodes.paragraph()
            line += nodes.literal(text=str(file.relative_to(HARNESS)))
            line += nodes.Text(f": {summary(file)}")
            table += nodes.list_item("", line)
        return [table]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("module-table", ModuleTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
