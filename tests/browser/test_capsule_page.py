"""The page in a capsule in a real browser: at any width, in the dark, in print, and without asking for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from harness.capsules.file.capsule_file import unpack
from harness.capsules.packing.page import index_page
from tests.browser.test_report import CHROMIUM, fits
from tests.helpers.paths import FIXTURES


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # root, as in a container, needs the flag
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("page")
    manifest = unpack(FIXTURES / "broken.capsule", home / "run")
    (home / "index.html").write_text(index_page(home / "run", manifest, "a name & more.capsule"))
    return home / "index.html"


def shown(page: Page, file: Path) -> list[str]:
    """Open the page, and return what it asked for and printed."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text))
    page.on("request", lambda request: found.append(request.url))
    page.goto(file.as_uri())
    return [each for each in found if not each.startswith("data:")]


def test_it_says_what_broke_and_how_to_run_it(chromium: Browser, file: Path) -> None:
    page = chromium.new_page()
    assert shown(page, file) == [file.as_uri()]
    assert page.title().startswith("a name & more.capsule: Training broke at iteration 45")
    went = re.search(r"the loss went from ([\d.]+) to ([\d.]+) and had not recovered at iteration 89",
                     page.inner_text("#verdict"))  # fmt: skip
    assert went is not None
    assert float(went[1]) < float(went[2])
    assert page.inner_text("#onset") == "45"
    assert page.locator(".curve polyline").count() == 1
    assert "caffe-harness capsule run 'a name & more.capsule'" in page.inner_text(".suggestions")
    assert "data/0" in page.inner_text("#members")
    assert "It is not anonymous" in page.inner_text("#anonymous")
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark"), (400, "light")])
def test_it_fits_and_can_be_read(chromium: Browser, file: Path, width: int, scheme: str) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    shown(page, file)
    assert fits(page)
    colour = page.evaluate("getComputedStyle(document.querySelector('.curve polyline')).stroke")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour != paper
    box = page.locator(".curve .box").bounding_box()
    assert box is not None
    assert box["width"] > 200
    page.emulate_media(media="print")
    assert page.is_visible(".curve polyline")
    assert fits(page)
    page.close()
