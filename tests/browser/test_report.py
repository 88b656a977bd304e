"""The report in a real browser: it states what the diagnosis found, its controls work, and it loads nothing else."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.diagnose import diagnose
from harness.diagnosis.recorded.propagation import propagation
from harness.invocation import next_command
from harness.recording import Recording
from harness.recording.lineage_reader import LineageReader
from harness.report import main
from harness.supervisor.predict_client import predictions
from tests.helpers.commands import RUN, train
from tests.helpers.explanations import encoded, record_explanation
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import PATIENCE, Finished, command, started, wait_for
from tests.helpers.rescues import SENTENCE, made_up_rescue, write_rescue
from tools.bench.report import BREAK, ITERATIONS, long_run

CHROMIUM = "/usr/bin/chromium"
BREAKS = 841


def report(*arguments: object) -> Finished:
    return harness_command("report", *arguments)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # root, as in a container, needs the flag
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in the browser, its errors and its requests."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def trace(self, chart: str, number: int = 0) -> dict[str, Any]:
        """The x, y and name of a line that the chart shows."""
        trace: dict[str, Any] = self.page.evaluate(
            "([id, n]) => { const t = document.getElementById(id).data[n];"
            " return { x: Array.from(t.x), y: Array.from(t.y), name: t.name }; }",
            [chart, number],
        )
        return trace

    def zoom(self, first: int, last: int) -> None:
        self.page.fill("#loss-from", str(first))
        self.page.fill("#loss-to", str(last))
        self.page.press("#loss-to", "Tab")
        self.page.fill("#loss-from", str(first))
        self.page.press("#loss-from", "Tab")
        self.page.wait_for_timeout(100)


class OpenPage(Protocol):
    def __call__(self, path: Path, width: int = 1280, drawn: bool = True, **context: Any) -> Opened:
        """Open a file in a window of that width; `drawn`: wait until its charts are drawn."""


@pytest.fixture
def opened(browser: Browser) -> Iterator[OpenPage]:
    """Open pages; in the end, none may have printed to the console or asked anybody for anything."""
    pages: list[tuple[Opened, str]] = []

    def open_file(path: Path, width: int = 1280, drawn: bool = True, **context: Any) -> Opened:
        page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
        one = Opened(page)
        page.on("console", lambda message: one.errors.append(message.text))
        page.on("pageerror", lambda error: one.errors.append(str(error)))
        page.on("request", lambda request: one.requests.append(request.url))
        page.goto(path.resolve().as_uri())
        if drawn:
            page.wait_for_selector("html[data-drawn=yes]")
        pages.append((one, path.resolve().as_uri()))
        return one

    yield open_file
    for one, address in pages:
        assert one.errors == []
        assert [url for url in one.requests if not url.startswith(("data:", "blob:"))] == [address]
        one.page.context.close()


def fits(page: Page) -> bool:
    """Check that nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


# -- the collapse -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_page(demo: Path, rescues: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "report.html"
    done = report(demo, "--out", page)
    assert done.code == 0, done.stderr
    assert done.stdout.strip() == str(page)
    assert done.stderr.splitlines()[-1] == f"Open it in a browser: {page.resolve().as_uri()}"
    return page


def test_the_collapse_of_the_demo(demo: Path, demo_page: Path, opened: OpenPage) -> None:
    with Recording(demo) as recording:
        found = diagnose(recording, 40, read_limits())
        travelled = propagation(recording, BREAKS)
        losses = recording.series("loss")
    assert found.onset is not None
    one = opened(demo_page)
    page = one.page
    evidence = "16 of the 32 images of batch 841 hold values 21 times larger than the others"
    assert one.text("#verdict") == f"Training broke at iteration 841: {evidence}"
    assert one.text("#explain code") == f"{next_command('explain')} {demo}"
    outcome = one.text("#outcome")
    went = re.match(r"The loss went from ([\d.]+) to ([\d.]+) and did not recover", outcome)
    assert went is not None, outcome
    assert float(went[1]) == pytest.approx(np.median(losses[BREAKS - 40 : BREAKS]), rel=1e-3)
    assert float(went[2]) == pytest.approx(9.02, abs=0.02)
    assert "loss1/loss1, loss2/loss1 and loss3/loss3 now give every class the same probability" in outcome
    assert one.text("#onset") == str(found.onset.iteration) == str(BREAKS)
    assert one.text("#first-blob") == found.onset.blob == "data"
    assert one.text("#first-param") == found.onset.param == "conv1/3x3_s1/0"
    everything = "weights, gradients, updates and inputs were recorded"  # by the black box, perhaps less
    assert everything in page.locator("ul.legend").first.inner_text()
    # what the reader asks first comes first
    assert page.locator("h2").all_inner_texts() == [
        "Losses",
        "Worst images of batch 841",
        "Next steps",
        "Data: the batch of the onset",
        "Layers over iterations",
        "Weights and gradients in the window",
        "Restarts",
        "Alarms",
        "About this run",
    ]
    for chart in ("#loss", "#batch img"):
        place = page.locator(chart).first.bounding_box()
        assert place is not None
        assert place["y"] < 900 / 2, "on the first screen"
    titles = page.locator(".plot > figcaption").all_inner_texts()
    assert all(title.startswith("demo") for title in titles if title)
    rounded = re.fullmatch(r"demo: the loss goes from ([\d.]+) to ([\d.]+) at iteration 841", titles[0])
    assert rounded is not None, titles[0]
    assert [float(value) for value in rounded.groups()] == pytest.approx([float(went[1]), float(went[2])], abs=0.01)
    assert "first conv1/3x3_s1/0 at iteration 841" in titles[1]
    copied = page.locator("#batch + p button").get_attribute("data-copy") or ""
    commands = page.locator(".suggestions code").all_inner_texts()
    excluded = commands.pop(1).partition(" --skip-records ")[2]
    assert sorted(excluded.split(",")) == sorted(copied.split())
    assert commands == [
        f"{next_command('restart')} {demo} --skip 841:842",
        f"{next_command('restart')} {demo} --set clip_gradients=20",
        f"{next_command('restart')} {demo} --set base_lr=0.0005",
        f"{next_command('rescue')} {demo}",
    ]
    rows = page.locator("#propagation tbody tr")
    assert rows.count() == 12
    assert rows.nth(0).locator("td").all_inner_texts()[:2] == [travelled[0].param, str(travelled[0].iteration)]
    alarms = page.locator("#alarms tbody tr").nth(0).locator("th, td").all_inner_texts()
    assert alarms[:3] == ["input_range", "1", str(found.alarms[0].iteration)]
    # from the whole run down to one iteration
    whole = one.trace("loss")
    assert len(whole["x"]) <= 1600
    assert max(whole["y"]) == pytest.approx(losses.max(), rel=1e-4)
    one.zoom(BREAKS, BREAKS)
    single = one.trace("loss")
    assert single["y"][single["x"].index(BREAKS)] == pytest.approx(losses[BREAKS], rel=1e-4)
    assert (min(single["x"]), max(single["x"])) == (BREAKS - 1, BREAKS + 1)  # and the lines that lead there
    page.click('[data-zoom="all"]')
    assert page.input_value("#loss-to") == "1599"
    names = [one.trace("loss", n)["name"] for n in range(7)]
    assert [name for name in names if "=" in name] == ["base_lr=0.0005", "clip_gradients=10"]
    assert page.evaluate("document.getElementById('loss').layout.yaxis.ticktext") == ["1", "10"]
    assert fits(page)


def test_clicks_and_keys_show_layers_a_window_and_the_batch(demo: Path, demo_page: Path, opened: OpenPage) -> None:
    with Recording(demo) as recording:
        gradients = recording.stat("gradient_l2")
        (head,) = [head for head in predictions(recording, BREAKS) if head.weight == 1]
        weights = recording.weight(BREAKS, "loss3/classifier_glyphs")
        keys = [key.decode() for key in recording.keys(BREAKS)]
        sizes = [float(np.abs(image).max()) for image in recording.input(BREAKS, "data")]
    others = sorted(sizes)[15]
    classes = (ROOT / "prototxt/glyphs280/data/classes.txt").read_text().splitlines()
    one = opened(demo_page)
    page = one.page
    # a click into the row of a layer, at the onset
    data = json.loads(page.locator("#page-data").text_content() or "")
    row = data["layers"]["spans"]["around"]["gradient"]["rows"].index("loss3/classifier_glyphs")
    place = page.evaluate(
        """([iteration, row]) => { const g = document.getElementById("layers"), b = g.getBoundingClientRect();
        const { _size: size, xaxis, yaxis } = g._fullLayout;
        return [b.left + size.l + xaxis.d2p(iteration), b.top + size.t + yaxis.d2p(row)]; }""",
        [BREAKS, row],
    )
    page.locator("#layers").scroll_into_view_if_needed()
    offset = page.evaluate("window.scrollY")
    page.mouse.move(place[0], place[1] - offset)
    page.wait_for_timeout(200)
    page.mouse.click(place[0], place[1] - offset)
    page.wait_for_function("document.getElementById('layers').dataset.row === 'loss3/classifier_glyphs'")
    assert re.match(
        r"demo, loss3/classifier_glyphs: gradient norm [\d.]+ at iteration 841, [\d.]+ times its median before",
        one.text("#curve-title"),
    )
    layer, weight = one.trace("curve"), one.trace("curve", 1)
    assert weight["name"] == "loss3/classifier_glyphs/0"
    at = weight["x"].index(BREAKS)
    assert weight["y"][at] == pytest.approx(gradients["loss3/classifier_glyphs/0"][BREAKS], rel=1e-4)
    both = np.hypot(*(gradients[f"loss3/classifier_glyphs/{i}"][BREAKS] for i in (0, 1)))
    assert layer["y"][layer["x"].index(BREAKS)] == pytest.approx(both, rel=1e-4)
    # by the keyboard alone, another number
    page.focus("#layers-controls input[value=gradient]")
    page.keyboard.press("ArrowRight")
    assert "loss3/classifier_glyphs: weight norm " in one.text("#curve-title")
    # another blob's spectrum
    page.select_option("#window-controls select", "loss3/classifier_glyphs/0")
    assert one.text("#weight-title").startswith("demo, loss3/classifier_glyphs/0: largest weight ")
    before, at_onset = one.trace("weight"), one.trace("weight", 1)
    assert [before["name"], at_onset["name"]] == ["iteration 840 (onset − 1)", "iteration 841 (onset)"]
    edges, shares = np.log10(at_onset["x"]), np.array(at_onset["y"][:-1])
    inside = np.abs(weights)
    inside = np.log10(inside[inside > 0])
    for low, high, share in zip(edges[1:-1], edges[2:], shares[1:], strict=True):
        counted = 100 * ((inside >= low) & (inside < high)).sum() / weights.size
        assert share == pytest.approx(counted, abs=0.02 + 1e-3 * share)
    # the batch, worst first
    figures = page.locator(".sheet figure")
    assert figures.count() == 32
    assert page.locator("#batch figure.outlier").count() == page.locator("#batch figure").count() == 8
    assert page.locator("figure.outlier").count() == 16
    shown = [figure.split("\n") for figure in figures.all_inner_texts()]
    badges = [lines.pop(0) for lines in shown[:16]]
    assert badges == [f"×{round(size / others):d}" for size in sorted(sizes, reverse=True)[:16]]
    assert sorted(lines[0] for lines in shown) == sorted(keys)
    assert all(lines[0].endswith(".tif") for lines in shown[:16])  # as the demo's recipe has the bad ones
    losses = [head.before.loss[keys.index(lines[0])] for lines in shown[16:]]
    assert losses == sorted(losses, reverse=True)
    for lines in shown:
        image = keys.index(lines[0])
        assert lines[1] == f"label {head.labels[image]} ({classes[head.labels[image]]})"
        assert lines[2].startswith(f"predicted {head.before.predicted[image]} ")
        assert f" → {head.after.predicted[image]} " in lines[2]
        assert lines[3] == f"loss {head.before.loss[image]:.3g} → {head.after.loss[image]:.3g}"
    copied = page.locator("#batch + p button").get_attribute("data-copy")
    assert copied is not None
    assert sorted(copied.split("\n")) == sorted(lines[0] for lines in shown[:16])
    filters = [page.locator("#filters img").nth(n).get_attribute("src") for n in (0, 1)]
    assert filters[0] != filters[1]
    assert page.evaluate("[...document.images].filter(i => i.offsetParent).every(i => i.naturalWidth > 0)")


def test_it_works_on_narrow_dark_and_scriptless_screens_and_on_paper(demo_page: Path, opened: OpenPage) -> None:
    narrow = opened(demo_page, 400, color_scheme="dark")
    assert fits(narrow.page)
    background = narrow.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) < 150
    axis = narrow.page.evaluate("document.getElementById('loss').layout.font.color")
    assert axis == narrow.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')").strip()
    outlier, ordinary = (
        narrow.page.locator(f".sheet figure{kind} img").first.evaluate("e => getComputedStyle(e).borderColor")
        for kind in (".outlier", ":not(.outlier)")
    )
    assert outlier == "rgb(255, 154, 77)" != ordinary
    narrow.page.emulate_media(media="print")
    for selector, is_shown in ((".chart", False), ("img.still", True), (".controls", False)):
        displayed = narrow.page.evaluate(
            "s => [...document.querySelectorAll(s)].map(e => e.getClientRects().length > 0)", selector
        )
        assert displayed
        assert all(shown == is_shown for shown in displayed), selector
    scriptless = opened(demo_page, drawn=False, java_script_enabled=False)
    stills = scriptless.page.locator("img.still")
    assert stills.count() == 5
    assert all(stills.nth(n).is_visible() for n in range(5))
    assert all(len(stills.nth(n).get_attribute("alt") or "") > 20 for n in range(5))
    assert not scriptless.page.locator(".chart").first.is_visible()
    # for readers of screens: every control has a name, every picture a text, headings come in order
    for control in narrow.page.locator("button, input, select").all():
        assert control.evaluate("e => e.textContent.trim() || e.ariaLabel || e.labels?.[0]?.textContent.trim()")
    for image in narrow.page.locator("img, [role=img]").all():
        assert image.evaluate("e => e.alt || e.ariaLabel || e.getAttribute('aria-labelledby')")
    levels = narrow.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_figures_alone_and_a_page_of_several_runs(
    demo: Path, rescues: dict[str, Path], tmp_path: Path, opened: OpenPage
) -> None:
    done = report(demo, "--format", "png", "--out", tmp_path / "demo.png")
    assert done.code == 0, done.stderr
    names = ["overview", "losses", "layers", "distances", "spectra", "batch", "filters", "restarts"]
    assert done.stdout.split() == [str(tmp_path / f"demo-{name}.png") for name in names]
    for name in names:
        picture = cv2.imread(str(tmp_path / f"demo-{name}.png"))
        assert picture is not None
        assert picture.shape[1] >= 1000
        assert picture.std() > 5, name
    children = list(rescues.values())
    assert report(demo, "--compare", *children, "--format", "pdf", "--out", tmp_path / "runs.pdf").code == 0
    assert (tmp_path / "runs.pdf").read_bytes().startswith(b"%PDF-")
    done = report(demo, "--compare", *children, "--out", tmp_path / "runs.html")
    assert done.code == 0, done.stderr
    one = opened(tmp_path / "runs.html")
    rows = one.page.locator("#runs tbody tr").all_inner_texts()
    assert len(rows) == 3
    assert "Training broke at iteration 841" in rows[0]
    assert all("Healthy" in row for row in rows[1:])
    assert "solver.base_lr\t0.005\t0.0005" in one.text("main")
    changed = ["base_lr=0.0005", "clip_gradients=10"]
    assert [one.trace("loss", n)["name"] for n in range(3)] == [demo.name, *changed]
    assert all(f"{change}, from iteration 800" in row for change, row in zip(changed, rows[1:], strict=True))
    places = {row.split("\t")[1]: int(row.split("\t")[0]) for row in rows}
    levels = {float(np.median(Recording(run).series("loss")[-40:])): run.name for run in children}
    assert sorted(places, key=places.__getitem__) == [*(levels[level] for level in sorted(levels)), demo.name]
    assert one.trace("loss", 1)["x"][0] == 800


def test_an_index_of_a_directory_of_runs(
    demo: Path, rescues: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    runs = tmp_path / "runs"
    for run in (demo, *rescues.values()):
        shutil.copytree(run, runs / run.name)
    (runs / "damaged").mkdir()
    (runs / "damaged/run.json").write_text("{")
    (runs / demo.name / "report.html").write_text("the report")
    done = report(runs)
    assert done.code == 0, done.stderr
    assert done.stdout == f"{runs / 'index.html'}\n"
    page = browser.new_page()
    page.goto((runs / "index.html").as_uri())
    rows = {row.split("\t")[1]: row for row in page.locator("#runs tbody tr").all_inner_texts()}
    assert [name for name in rows if name != "damaged"] == [demo.name, *(run.name for run in rescues.values())]
    assert "broke at iteration 841" in rows[demo.name]
    for change, run in rescues.items():
        assert f"{change}, from iteration 800 of {demo.name}\thealthy" in rows[run.name]
    assert "no recording" in rows["damaged"].split("\t")
    assert page.locator("svg.thumbnail").count() == 3
    page.get_by_role("link", name=demo.name, exact=True).click()
    assert "the report" in page.content()
    page.close()


# -- the cause --------------------------------------------------------------------------------------------------------


def test_why_it_broke(small: Path, opened: OpenPage) -> None:
    """The section Why shows what explain.json says, with the records read from the data set."""
    train(small / "solver.prototxt", small / "run")
    with Recording(small / "run") as recording:
        batch = diagnose(recording, 7, read_limits()).batch(40)
        rate = recording.series("lr")[40]
    assert batch is not None
    explanation = record_explanation(40, batch.keys[2:5], "conv1/3x3", first_index=2)
    (small / "run/explain.json").write_bytes(encoded(explanation))
    assert report(small / "run").code == 0
    one = opened(small / "run/report.html")
    page = one.page
    assert one.text("#cause").strip() == explanation.verdict.sentence
    assert page.locator("h2").all_inner_texts()[:2] == ["Why", "Losses"]
    evidence = page.locator("#evidence li").all_inner_texts()
    assert evidence[0].split(".")[0] == "With other records in their place training continues (8 of 8 replays)"
    assert "3 records of 40 replaced: 8 of 8 heal" in evidence[0]
    assert len(evidence) == 5
    assert page.locator(".chain li").count() == 5
    # the records, the one with the largest effect first
    shown = [caption.split("\n") for caption in page.locator("#culprits figcaption").all_inner_texts()]
    assert [lines[0] for lines in shown] == [batch.keys[4], batch.keys[3], batch.keys[2]]
    assert batch.labels is not None
    assert shown[0][1:] == [f"label {batch.labels[4]}", "loss +0.47", "gradient 228"]
    assert page.locator("#culprits img").count() == 3
    assert page.evaluate("[...document.querySelectorAll('#culprits img')].every(i => i.naturalWidth > 0)")
    lines = page.locator(".numbers").all_inner_texts()
    assert f"survives up to 0.00112, breaks from 0.00139, this run has {rate:.3g}" in lines[1]
    assert [line.split("\n")[0] for line in page.locator("#orders b").all_inner_texts()] == [
        "4 of 5", "3 of 5", "1 of 5", "0 of 5", "0 of 5", "0 of 5",
    ]  # fmt: skip
    # each trial has its losses, in front of those of the control; each outcome a shape and a colour
    placebo = page.locator(".panels figure", has_text="the others replaced").first
    assert placebo.locator("polyline.bad").count() == 3
    assert placebo.locator("polyline.control").count() == 1
    assert placebo.locator("b").all_inner_texts() == ["✕", "✕", "✕"]
    assert placebo.locator("b.nonfinite").get_attribute("style") == f"left: {100 * 11 / 64:.2f}%; top: 0.0%"
    ends = page.locator("figure", has_text="a quarter of them").locator("b")
    assert ends.all_inner_texts() == ["●", "◆", "✕"]
    assert len({ends.nth(n).evaluate("e => getComputedStyle(e).color") for n in range(3)}) == 3
    # a claim leads to its trial, and the trial to the command that repeats it
    page.click("#evidence a >> nth=0")
    row = page.locator("tr:target")
    assert row.locator("th").inner_text() == "3 records of 40 replaced"
    assert row.locator("td.n").all_inner_texts()[:3] == ["8", "0", "8"]
    assert row.locator("button.copy").is_visible()
    assert row.locator("button.copy").get_attribute("data-copy") == explanation.arms[3].command
    assert explanation.arms[3].command.endswith(f" {row.locator('code').inner_text()}")
    assert page.locator("#trials-measured tbody tr").count() == 6
    assert not page.locator("#trials-measured table").is_visible()
    narrow = opened(small / "run/report.html", 400, drawn=False, java_script_enabled=False, color_scheme="dark")
    narrow.page.locator("details.trials").last.locator("summary").click()
    assert narrow.page.locator("#trials-orders polyline").first.is_visible()
    assert fits(narrow.page)
    (small / "run/explain.json").write_text('{"format_version": 7}')
    done = report(small / "run")
    assert (done.code, "Traceback" in done.stderr) == (0, False)
    assert "written by a newer caffe-harness" in opened(small / "run/report.html").text("#unexplained")


# -- other runs -------------------------------------------------------------------------------------------------------


def test_a_lineage_and_its_rescue(lineage: Path, tmp_path: Path, opened: OpenPage) -> None:
    """The report of the last of four runs shows all of them as one training, and what a rescue tried."""
    study, first = tmp_path / "study", lineage.parents[1] / "first"
    shutil.copytree(lineage, study / "3")
    write_rescue(study, made_up_rescue(first, study))
    done = report(study / "3")
    assert done.code == 0, done.stderr
    assert "base_lr 0.01 → 0.002 (from iteration 20 on)" in done.stderr
    with LineageReader(Recording(lineage)) as line:
        smoothed, rates = line.series("smoothed_loss"), line.series("lr")
    one = opened(study / "3/report.html")
    page = one.page
    lines = [one.trace("loss", number) for number in range(page.evaluate("$('loss').data.length"))]
    (whole,) = [found for found in lines if found["name"] == "total, smoothed"]
    assert whole["x"] == list(range(55))
    assert whole["y"] == pytest.approx(smoothed.tolist(), rel=1e-3)
    left = [(found["x"][0], found["x"][-1]) for found in lines if found["name"] == "not continued"]
    assert left == [(20, 39), (30, 34), (40, 49)]
    assert any(found["y"] == pytest.approx(rates.tolist(), rel=1e-3) for found in lines if found["x"] == whole["x"])
    labels = page.evaluate("$('loss').layout.annotations.map((a) => [a.x, a.text])")
    assert [20, "base_lr 0.01 → 0.002"] in labels
    dashes = page.evaluate("$('loss').layout.shapes.filter((s) => s.x0 === s.x1).map((s) => [s.x0, s.line.dash])")
    assert dashes == [[19.5, "dash"], [29.5, "dot"], [39.5, "dash"]]
    texts = page.evaluate("$('loss').data.flatMap((t) => t.text ?? [])")
    assert "iteration 30: 2 takes over<br>nothing changed" in texts
    assert page.locator("#runs tbody tr").all_inner_texts()[1:3] == [
        "1\t20 to 29 (recorded up to 34)\tbase_lr 0.01 → 0.002\tDone: iteration 35",
        "2\t30 to 39 (recorded up to 49)\tnothing changed\tDone: iteration 50",
    ]
    assert one.text("#rescued") == SENTENCE
    assert page.locator(".tried").count() == 2
    rows = page.locator(".tried >> nth=0").locator("tbody tr").all_inner_texts()
    assert rows[2].split("\t") == [
        *("a lower rate", "--set base_lr=0.002", "4 of 4", "1.24", "0.5486", "1,200"),
        "chosen: the smallest change whose level is within noise of the best",
    ]
    assert rows[3].split("\t")[2:] == ["", "", "", "", "left out: smaller changes were enough"]
    assert one.page.get_by_text("A record of batch 26 <b>broke</b>.").count() == 1  # as text
    went_on = "training continued with: momentum 0.8 (--set momentum=0.8 --history reset), as the run 3."
    assert page.locator(".went-on").all_inner_texts()[1] == f"From iteration 40 on, {went_on}"
    page.click("[data-zoom=own]")
    assert [page.input_value(f"#loss-{end}") for end in ("from", "to")] == ["40", "54"]
    page.check("input[name=span][value=whole]")
    assert page.evaluate("[$('layers').data[0].x[0], $('layers').data[0].x.at(-1)]") == [-0.5, 54.5]
    narrow = opened(study / "3/report.html", width=400, color_scheme="dark")
    assert fits(narrow.page)
    (study / "rescue.json").write_text("{")
    done = report(study / "3", "--out", tmp_path / "again.html")
    assert done.code == 0, done.stderr
    again = opened(tmp_path / "again.html")
    assert again.text("#unread-rescue").startswith(f"{study / 'rescue.json'}: damaged")


def test_a_healthy_run_without_a_window(small: Path, opened: OpenPage) -> None:
    train(small / "solver.prototxt", small / "run")
    done = report(small / "run")
    assert done.code == 0, done.stderr
    one = opened(small / "run/report.html")
    with Recording(small / "run") as recording:
        assert diagnose(recording, 7, read_limits()).onset is None
    assert one.text("#verdict").startswith("Healthy: no divergence was found in iterations 0 to 59")
    assert one.page.locator("#verdict").get_attribute("class") == "good"
    assert one.page.locator("#onset, #first-param, .suggestions, #lineage, #rescue").count() == 0
    assert "--watch A:B" in one.text("#no-window")
    assert one.page.locator("[data-zoom=onset]").is_hidden()
    assert one.page.evaluate("document.getElementById('layers').dataset.row") == "conv1/3x3"


def test_a_run_that_died(small: Path, opened: OpenPage) -> None:
    """It is killed while it trains, after a snapshot from which it can go on."""
    (small / "solver.prototxt").write_text(
        solver_text(small / "net.prototxt", small / "x", lr_policy='"fixed"', max_iter=100_000)
    )
    arguments = ("--solver", small / "solver.prototxt", "--out", small / "run", "--watch", "0:3")
    with started(sys.executable, RUN, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        printed = next(line for line in process.stderr if "Snapshot of iteration" in line)
        assert "Snapshot of iteration 25:" in printed
        worker = next(p for p in psutil.Process(process.pid).children() if "harness.worker.main" in p.cmdline())
        worker.kill()
        process.stderr.read()
        assert process.wait(PATIENCE) == 4
    done = report(small / "run")
    assert done.code == 0, done.stderr
    one = opened(small / "run/report.html")
    ended = json.loads((small / "run/run.json").read_text())["ended"]
    assert one.text("#ending").rstrip(".") == ended["how"].rstrip(".")
    assert "SIGKILL" in one.text("#ending")
    assert one.page.locator(".suggestions code").all_inner_texts() == [f"{next_command('restart')} {small / 'run'}"]
    assert one.page.locator(".sheet figure").count() == 8  # of the window's first iteration
    assert one.page.locator("#window-controls select option").count() == 10


def test_a_divergence_without_a_window(small: Path, digit_data: Path, opened: OpenPage) -> None:
    (small / "solver.prototxt").write_text(
        solver_text(small / "net.prototxt", small / "x", base_lr=1e6, lr_policy='"step"', gamma=1, stepsize=1000)
    )
    train(small / "solver.prototxt", small / "run", "--on-alarm", "stop", "--black-box-mib", "0", code=3)
    assert report(small / "run").code == 0
    one = opened(small / "run/report.html")
    with Recording(small / "run") as recording:
        onset = diagnose(recording, 7, read_limits()).onset
    assert onset is not None
    assert one.text("#onset") == str(onset.iteration)
    assert one.page.locator("#verdict").get_attribute("data-kind") == "not finite"
    command = one.page.locator(".suggestions code").first.inner_text()
    assert re.fullmatch(r"\S*caffe-harness rewind \S+ --watch 0:\d+", command)
    assert "a command above records the iterations 0:" in one.text("#no-window")
    done = report(small / "run", "--rewind")
    assert done.code == 0, done.stderr
    assert "Verified: " in done.stderr
    one = opened(small / "run/report.html")
    assert "rewind" not in one.page.locator(".suggestions").inner_text()
    assert one.text("#window-contents").startswith("Weights, gradients, updates and inputs of iterations 0:")


HOSTILE = [
    "<script>alert(1)</script>",
    "a/b/../c//d",
    "n" * 200,
    "$x$ & <b>bold</b> %{y}",
    "quote ' ` tick {{ 7 * 7 }}",
    "</script><img src=x onerror=alert(2)>",
    "größe ⚙ ‮",
]


def test_two_hundred_layers_with_hostile_names_are_shown_as_text(
    tmp_path: Path, digit_data: Path, opened: OpenPage
) -> None:
    names = HOSTILE + [f"block_{n // 10}/layer_{n}" for n in range(200 - len(HOSTILE))]
    head = small_net(digit_data).split('layer { name: "conv1/3x3"', 1)[0]
    layers, bottom = [], "data"
    for name in names:
        # each leads to the sum, so that the gradient reaches it on a short way
        layers.append(
            f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
            f'inner_product_param {{ num_output: 5 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}'
        )
    sum_of = "".join(f' bottom: "{name}"' for name in names)
    layers.append(f'layer {{ name: "sum" type: "Eltwise"{sum_of} top: "sum" }}')
    layers.append('layer { name: "_$a$b" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "_$a$b" }')
    (tmp_path / "net.prototxt").write_text(head + "\n".join(layers))
    (tmp_path / "solver.prototxt").write_text(
        solver_text(tmp_path / "net.prototxt", tmp_path / "x", max_iter=12, display=4)
    )
    train(tmp_path / "solver.prototxt", tmp_path / "run", "--watch", "4:7")
    done = report(tmp_path / "run", "--out", tmp_path / "page.html")
    assert done.code == 0, done.stderr
    assert "Warning" not in done.stderr
    one = opened(tmp_path / "page.html")
    page = one.page
    assert page.evaluate("document.scripts.length") == 5  # the page's own four, and plotly
    assert page.locator("#layers-controls select option").all_inner_texts() == names
    for name in HOSTILE[:3]:
        page.select_option("#layers-controls select[name=row]", name)
        assert one.text("#curve-title").startswith(f"run, {name}: ")
    assert page.locator("#window-controls select option").count() == 400
    page.select_option("#window-controls select", f"{HOSTILE[0]}/0")
    assert f"{HOSTILE[0]}/0: largest weight" in one.text("#weight-title")
    assert fits(page)
    assert fits(opened(tmp_path / "page.html", 400).page)


def test_a_partial_window_away_from_the_onset(small: Path, opened: OpenPage) -> None:
    """The page has no text about what was not captured."""
    (small / "solver.prototxt").write_text(
        solver_text(small / "net.prototxt", small / "x", base_lr=1e6, lr_policy='"fixed"', max_iter=12, test_interval=1)
    )
    options = ("--watch", "8:11", "--on-alarm", "continue", "--black-box-mib", "0")
    train(small / "solver.prototxt", small / "run", *options)
    train(small / "solver.prototxt", small / "inputs", *options, "--capture", "input")
    for run in ("run", "inputs"):
        assert report(small / run).code == 0
    whole, inputs = opened(small / "run/report.html"), opened(small / "inputs/report.html")
    assert "Weights, gradients, updates and inputs of iterations 8:11 were recorded in full" in whole.text(
        "#window-contents"
    )
    assert "None of them is the onset" in whole.text("#window-contents")
    with Recording(small / "run") as recording:
        onset = diagnose(recording, 7, read_limits()).onset
    assert onset is not None
    assert f"8 inputs of iteration {onset.iteration}, as the net received them" in whole.text("main")
    assert "read again from the data set" in whole.text("main")
    assert f"not finite since {onset.iteration}" in whole.page.locator(".plot > figcaption").first.inner_text()
    # nothing is drawn as measured after that
    traces = whole.page.evaluate("document.getElementById('loss').data.filter(t => t.y.length > 1).map(t => t.name)")
    assert traces[:5] == ["total, each iteration", "loss1/loss1 (weight 0.3)", "loss3/loss3", "total, smoothed", None]
    assert traces[5] == "loss3/top-1"
    drawn = [whole.trace("loss", n)["x"] for n in (0, 1, 2, 3, 5)]
    assert all(len(x) > 0 and max(x) < onset.iteration for x in drawn)
    assert whole.page.evaluate("document.getElementById('loss').layout.xaxis.range[1]") > 11
    assert whole.page.locator("input[name=distance]").is_disabled()  # there is no baseline before it
    assert inputs.text("#window-contents").startswith("Inputs of iterations 8:11 were recorded in full.")
    assert inputs.page.locator("#window-controls, #filters").count() == 0
    assert "weights were" not in inputs.text("main")


# -- long and live runs -----------------------------------------------------------------------------------------------


# runs a command and prints the largest resident size, in KiB, that it had
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def test_a_run_of_120_000_iterations_is_drawn_in_little_memory(tmp_path: Path, opened: OpenPage) -> None:
    run = long_run(tmp_path / "long")
    done = command(sys.executable, "-c", MEASURED, sys.executable, ROOT / "harness/report.py", run)
    assert done.code == 0, done.stderr
    assert int(done.stderr.split()[-1]) < 1 << 20  # KiB
    assert (run / "report.html").stat().st_size < 6e6
    with Recording(run) as recording:
        losses = recording.series("loss")
        onset = diagnose(recording, 40, read_limits(), ()).onset
    assert onset is not None
    one = opened(run / "report.html")
    assert one.text("#onset") == str(onset.iteration) == str(BREAK)
    whole = one.trace("loss")
    assert len(whole["x"]) < 5000
    spike = int(np.nanargmax(losses))
    assert np.isnan(losses[spike + 3])
    assert whole["y"][whole["x"].index(spike + 3)] is None
    assert whole["y"][whole["x"].index(spike)] == pytest.approx(losses[spike], rel=1e-3)
    for first, last in ((spike - 20_000, spike + 20_000), (spike - 3, spike + 3), (spike, spike)):
        one.zoom(first, last)
        shown = one.trace("loss")
        assert shown["y"][shown["x"].index(spike)] == pytest.approx(losses[spike], rel=1e-3)
    assert shown["x"] == [spike - 1, spike, spike + 1]
    assert len(losses) == ITERATIONS


def test_the_report_follows_a_run_in_progress(small: Path, opened: OpenPage) -> None:
    """The page is written again and again while the run goes on; the run has the weights of one without a follower."""
    (small / "solver.prototxt").write_text(
        solver_text(small / "net.prototxt", small / "x", lr_policy='"fixed"', max_iter=10**6, snapshot=None)
    )
    solver = small / "solver.prototxt"
    train(solver, small / "alone", "--until", 300)
    page = small / "run/report.html"
    with ExitStack() as stack:
        training = (sys.executable, RUN, "--solver", solver, "--out", small / "run")
        run = stack.enter_context(started(*training, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for((small / "run/recording.h5").exists, run, pause=0.05)
        follow = (sys.executable, ROOT / "harness/report.py", small / "run", "--follow")
        follower = stack.enter_context(started(*follow, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        wait_for(page.exists, follower, pause=0.05)
        first = page.read_text()
        run.terminate()
        assert run.wait(PATIENCE) == 130
        assert 'http-equiv="refresh"' in first
        assert "The run is still in progress" in first
        out, err = follower.communicate(timeout=120)
        assert follower.returncode == 0, err
        assert out.strip() == str(page)
    one = opened(page)
    assert "refresh" not in page.read_text()[:1000]
    with Recording(small / "alone") as alone, Recording(small / "run") as followed:
        assert f"iterations 0 to {followed.iterations[-1]:,}" in one.text("#verdict")
        assert np.array_equal(alone.series("digest"), followed.series("digest")[:300])


def test_bad_input_is_one_clear_error(
    tmp_path: Path, demo: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        ([tmp_path / "nowhere"], "no such recording"),
        ([tmp_path / "empty"], "no such recording"),
        ([demo, "--follow", "--format", "pdf"], "--follow"),
        ([demo, "--rules", tmp_path / "none.toml"], "none.toml"),
        ([demo, "--compare", tmp_path / "empty"], "no such recording"),
    ):
        assert main([str(argument) for argument in arguments]) == 2
        assert said in capsys.readouterr().err
    train(small / "solver.prototxt", small / "run", "--until", 12)
    done = report(small / "run", "--out", small / "no/such/place.html")
    assert done.code == 1
    assert "place.html" in done.stderr
    assert "Traceback" not in done.stderr
    (small / "run/report.html").mkdir()
    done = report(small / "run")
    assert done.code == 1
    assert f"{small / 'run/report.html'}: cannot be written" in done.stderr
