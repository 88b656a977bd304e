"""The built documentation: no warnings, and pages that load nothing from other hosts, at any width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.helpers.paths import BIN
from tests.helpers.processes import command

# An element that loads what an attribute names; an <a> does not.
LOADS = {
    **{"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src"},
    **{"link": "href", "object": "data", "image": "href", "use": "href", "track": "src"},
}
RELATIONS = {"canonical", "next", "prev", "index", "search", "author", "license"}  # links that nothing follows


class Resources(HTMLParser):
    """The resources that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and set((values.get("rel") or "").split()) <= RELATIONS:
            return
        if (value := values.get(LOADS.get(tag, ""))) is not None:
            self.found.append(value)
        self.found += [part.split()[0] for part in (values.get("srcset") or "").split(",") if part.strip()]


Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `tools/test` builds them."""
    target = tmp_path_factory.mktemp("docs")
    done = command(BIN / "sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", target)
    assert done.code == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield found
        found.close()


def test_no_page_names_a_resource_on_another_host(pages: Path) -> None:
    found = 0
    for page in pages.glob("**/*.html"):
        resources = Resources()
        resources.feed(page.read_text())
        found += len(resources.found)
        assert [r for r in resources.found if re.match(r"(?:\w+:)?//", r) and not r.startswith("data:")] == [], page
    for style in pages.glob("**/*.css"):
        assert re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:\w+:)?//[^'\")]+)", style.read_text()) == [], style
    assert found > 100


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_pages_load_nothing_and_fit(pages: Path, browser: Browser, width: int, scheme: Scheme) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    requested: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for path in sorted(pages.glob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    context.close()
