"""Make the pictures in docs/images/ from the demo's run and its restarts (see notebooks/restart_study.ipynb).

    .venv/bin/python -m tools.pictures

The demo's run has to be explained (`python harness/explain.py runs/demo`).
Pages are opened in Debian's Chromium (tools/setup --tests).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tools.machine_paths import ROOT, without_machine

IMAGES = ROOT / "docs/images"
RESTARTS = ("demo-slower", "demo-clipped", "demo-skipped")
WIDTHS = (1280, 400)  # pixels: a desktop, a phone
HEAD = 1730  # pixels: the sections about what happened and when


def harness(command: str, *arguments: object) -> None:
    """Run a command from the top of the repository, silently."""
    line = [sys.executable, f"harness/{command}", *map(str, arguments)]
    subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        harness("report.py", "runs/demo", "--format", "png", "--out", home / "demo.png")
        restarts = [f"runs/{restart}" for restart in RESTARTS]
        harness("report.py", "runs/demo", "--compare", *restarts, "--format", "png", "--out", home / "rescue.png")
        shutil.copy(home / "demo-overview.png", IMAGES / "collapse.png")
        shutil.copy(home / "rescue-losses.png", IMAGES / "rescue.png")
        log = ("tests/logs/case.log", "--images", "278000", "--batch", "32", "--plot", IMAGES / "case.png")
        harness("readlog.py", *log)
        page = home / "report.html"
        harness("report.py", "runs/demo", "--out", page)
        page.write_text(without_machine(page.read_text()))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            for width in WIDTHS:
                tab = browser.new_page(viewport={"width": width, "height": 900})
                tab.goto(page.as_uri())
                tab.wait_for_selector("html[data-drawn=yes]")
                why = tab.locator("section.why")
                if width == WIDTHS[0]:
                    why.screenshot(path=home / "why.png")
                    Image.open(home / "why.png").save(IMAGES / "why.webp", quality=75)
                why.evaluate("section => section.remove()")  # it has a picture of its own
                tab.screenshot(path=home / f"{width}.png", full_page=True)
                whole = Image.open(home / f"{width}.png")
                whole.save(IMAGES / f"report-{width}.webp", quality=75)
                if width == WIDTHS[0]:
                    whole.crop((0, 0, width, HEAD)).save(IMAGES / "report.webp", quality=80)
            browser.close()
    for picture in sorted(IMAGES.iterdir()):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
