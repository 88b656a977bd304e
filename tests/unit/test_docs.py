"""The documentation names what exists, and the file format has what a recording has."""

from __future__ import annotations

import json
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from alarm_rules import THRESHOLDS, read_rules
from module_table import HARNESS, modules, summary

from harness import readlog
from harness.recording.hdf5_schema import create_datasets
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.capsule import SUFFIXES, Break, HeadLevels, Manifest, Member
from harness.schemas.layout import Array
from harness.schemas.run_info import Ended, RunInfo, SnapshotInfo
from harness.schemas.window import Window
from tests.helpers.paths import BIN, FIXTURES, ROOT
from tests.helpers.recordings import layout_of

PAGES = sorted(
    [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("prototxt/*/README.md")],
)
FORMAT = (ROOT / "docs/file-format.md").read_text()
# What is made on the user's machine, and so is not in a checkout.
_MADE = re.compile(r"^(docs/_build|prototxt/\w+/data(/.*)?|runs/.*)$")


def names(page: Path) -> list[str]:
    """All that stands in `backquotes` in a page."""
    return re.findall(r"`([^`\n]+)`", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_a_page_names_exist(page: Path) -> None:
    tops = "harness|tools|docs|tests|prototxt|docker|notebooks"
    inner = "|".join(child.name for child in HARNESS.iterdir() if child.is_dir())
    for name in names(page):
        match = re.match(rf"((?:{tops})/[\w./*-]+)(?: |$)", name)
        if match and not _MADE.match(match[1]):
            assert list(ROOT.glob(match[1].rstrip("/"))), f"{page.name}: {name}"
        elif re.fullmatch(rf"(?:{inner})/[\w/]+\.py", name):
            assert (HARNESS / name).is_file(), f"{page.name}: {name}"
        elif re.fullmatch(r"test_\w+\.py", name):
            assert list(ROOT.glob(f"tests/**/{name}")), f"{page.name}: {name}"


def test_tests_that_demonstrate_a_fact_exist() -> None:
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    named = {name for name in names(ROOT / "docs/architecture.md") if re.fullmatch(r"test_\w+", name)}
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_links_between_files_lead_somewhere() -> None:
    """Those between pages of docs/, Sphinx checks."""
    for page in PAGES:
        if page.parent.name != "docs":
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 900


def test_the_readmes_python_is_python() -> None:
    block = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    compile(block, "README.md", "exec")


def test_readlog_prints_the_example_of_its_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)
    page = (ROOT / "docs/logs.md").read_text()
    (shown,) = re.findall(r"^python harness/readlog.py (.*case.log.*)$", page, re.MULTILINE)
    assert readlog.main(shown.split()) == 0
    (example,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert example.split() == capsys.readouterr().out.split()  # but for line breaks


# -- what is rendered from the code ----------------------------------------------------------------------------------


def test_every_limit_is_rendered_with_its_comment() -> None:
    rules = {rule.name: rule for rule in read_rules(THRESHOLDS.read_text())}
    assert all(rule.text for rule in rules.values())
    limits = [limit for rule in rules.values() for limit in rule.limits]
    assert all(limit.meaning for limit in limits)
    window, ignorance = rules["loss_jump"].limits[2:4]
    assert (window.name, window.value) == ("window", "200")
    assert ignorance.meaning.count("glyphs280") == 1  # the comment continues on the next line
    assert rules["dead_relu"].limits[-1].value == "0.999"


def test_a_limit_that_would_not_be_rendered_is_an_error() -> None:
    with pytest.raises(ValueError, match="was not understood"):
        read_rules("[rule]\n# It does.\nenabled = true\n  odd  = 3\n")


def test_every_module_has_a_line_of_its_own() -> None:
    found = list(modules(HARNESS))
    assert len(found) > 100
    assert all(summary(path).endswith((".", ":")) for path in found)


def test_every_package_is_in_the_architecture() -> None:
    packages = {path.parent.name for path in HARNESS.glob("*/__init__.py")}
    assert packages == set(re.findall(r"{module-table} (\w+)", (ROOT / "docs/architecture.md").read_text()))


# -- the file format --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 0.1.0."""
    directory = tmp_path_factory.mktemp("older")
    with tarfile.open(FIXTURES / "run-0.1.0.tar.xz") as archive:
        archive.extractall(directory)
    return directory / "runs/jump"


def documented(heading: str) -> set[str]:
    """The names in the first column of the tables below a heading."""
    section = re.split(r"^## ", FORMAT, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(heading))
    rows = re.findall(r"^\| (.*?) \|", text, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_dataset_is_documented(run: Path, tmp_path: Path) -> None:
    paths = [name for name in documented("The recording") | documented("Checksums") if name.startswith("/")]
    numbers = r"<index>|<slot>|<net>|<number>|<array>|<k>|<n>"
    shapes = [re.sub(r"<layer>|<name>|<blob>", ".+", re.sub(numbers, r"\\d+", path)) for path in paths]
    layout = layout_of(2, Window(5, 7))
    more = Array("history", "conv0/3x3", 0, (3, 4), slot=1), Array("state", "0/0/1/cell", None, (1, 2, 5))
    with h5py.File(tmp_path / "new.h5", "w", libver="latest") as file:  # what runs of today have besides
        create_datasets(file, replace(layout, arrays=(*layout.arrays, *more)), {})
        found = dataset_names(file)
    with h5py.File(run / "recording.h5") as file:
        found |= dataset_names(file)
        fields = documented("run.json") | {"format", "format_version", "closed"}
        assert set(file.attrs) <= fields
    used = {shape for shape in shapes for name in found if re.fullmatch(shape, name)}
    assert {name for name in found if not any(re.fullmatch(shape, name) for shape in shapes)} == set()
    assert set(shapes) - used == set()


def dataset_names(file: h5py.File) -> set[str]:
    names: list[str] = []
    file.visititems(lambda _, node: names.append(node.name) if isinstance(node, h5py.Dataset) else None)
    return set(names)


def test_every_field_of_run_json_is_documented(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    written = {*RunInfo.__struct_fields__, *Ended.__struct_fields__}
    assert set(facts) | set(facts["ended"]) <= written
    assert written <= documented("run.json")


def test_every_field_of_a_snapshot_is_documented(run: Path) -> None:
    for path in (run / "snapshots").glob("*.json"):
        facts = json.loads(path.read_text())
        assert set(facts) <= set(SnapshotInfo.__struct_fields__) <= documented("Snapshot JSON")
        point = documented("Position in data and random numbers")
        assert set(facts["point"]) | set(facts["point"]["places"][0]) <= point


def test_every_field_of_capsule_json_is_documented() -> None:
    written = {name for kind in (Manifest, Break, HeadLevels, Member) for name in kind.__struct_fields__}
    text = FORMAT.partition("### capsule.json")[2].partition("### ")[0]
    assert {name for name in written if not re.search(rf"[`{{ ]{name}[`,}}]", text)} == set()
    encodings = FORMAT.partition("| encoding |")[2].partition("To read")[0]
    assert {
        f"`{name}`" for name in (*SUFFIXES, *filter(None, SUFFIXES.values())) if f"`{name}`" not in encodings
    } == set()


def test_every_field_of_the_result_of_an_arm_is_described() -> None:
    section = FORMAT.partition("## Results of arms")[2].partition("\n## ")[0]
    for field in (*Arm.__struct_fields__, *ArmResult.__struct_fields__):
        assert f"`{field}`" in section, field
