"""Render the templates of pages. A page loads nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2

from harness.quantities import file_size


def render(template: str, **given: Any) -> str:
    """Render a template with the style of all pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.reports.html", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["number"] = lambda value: "" if value is None else f"{value:.4g}"
    environment.filters["size"] = file_size
    return environment.get_template(template).render(style=text_of("templates/style.css"), **given)


def text_of(name: str) -> str:
    """Read a file of this package."""
    return resources.files("harness.reports.html").joinpath(name).read_text()
