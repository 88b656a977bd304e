"""Render a page: the report of one run, or the comparison of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.caffe_files.net_roles import accuracies
from harness.diagnosis.live.messages import LOOK_AT, sentence
from harness.diagnosis.ranking import rank, result_of
from harness.diagnosis.recorded.baseline import BLOB_ROWS, PARAM_ROWS
from harness.diagnosis.settings import Setting
from harness.reports import figures
from harness.reports.figures.window import moment_name
from harness.reports.html import charts, messages, rescue
from harness.reports.html.details import run_details
from harness.reports.html.figures import batch_images, filter_images, static_images, svg
from harness.reports.html.headline import headline, outcome
from harness.reports.html.index import Row, in_order
from harness.reports.html.packing import Arrays, plotly_js
from harness.reports.html.subject import Subject
from harness.reports.html.templating import render, text_of
from harness.reports.html.titles import titles
from harness.reports.html.why import why
from harness.reports.names import curve_names
from harness.reports.suggestions import explain_command
from harness.reports.text import lineage
from harness.reports.text.grammar import list_names

_SCRIPTS = ("shared", "losses", "layers", "window", "main")
_MOST_DEPARTURES = 12
_MOST_PARTS = 12  # runs of a lineage in a table that is open
_MOST_WORST = 8  # images on the first screen


@dataclass(frozen=True)
class Compared:
    """Another run on a page of several, and the settings in which it differs from the first."""

    name: str
    subject: Subject
    settings: tuple[Setting, ...]


def report(subject: Subject, refresh: int | None = None) -> str:
    """Render the report of a run. With `refresh`, the page reloads itself after that many seconds."""
    arrays, found, onset = Arrays(), subject.found, subject.onset
    name = subject.run.resolve().name
    data: dict[str, Any] = {"run": name, "onset": onset, "palette": charts.palette()}
    if len(subject.recording.iterations):
        data["losses"] = charts.losses(subject, arrays)
        data["layers"] = charts.layers(subject, arrays)
        data["window"] = charts.window(subject, arrays)
        data["moments"] = [moment_name(moment, onset) for moment in found.moments]
        data["offender"] = found.offender.label if found.offender else None
    images = batch_images(subject)
    return _with_charts(
        "report.html",
        data,
        arrays,
        name=name,
        headline=headline(subject),
        outcome=outcome(subject),
        titles=titles(subject),
        subject=subject,
        found=found,
        refresh=refresh,
        messages=messages,
        details=run_details(subject),
        why=why(subject),
        lineage=lineage,
        rescue=rescue,
        accuracies=accuracies(subject.info.test_nets),
        most_parts=_MOST_PARTS,
        explain=explain_command(subject.run).command,
        sentence=sentence,
        look_at=LOOK_AT,
        stills=static_images(subject),
        worst=images[:_MOST_WORST],
        rest=images[_MOST_WORST:],
        outlier_keys=[image.key for image in images if image.outlier and image.key],
        filters=filter_images(subject),
        most_departures=_MOST_DEPARTURES,
        baseline_rows=PARAM_ROWS,
        blob_baseline_rows=BLOB_ROWS,
    )


def comparison(name: str, first: Subject, others: Sequence[Compared]) -> str:
    """Render the comparison of several runs."""
    arrays = Arrays()
    runs = {name: first} | {other.name: other.subject for other in others}
    curves = curve_names({name: subject.info.parent for name, subject in runs.items()})
    recordings = {curve: subject.recording for curve, subject in zip(curves, runs.values(), strict=True)}
    results = [result_of(subject.found) for subject in runs.values()]
    ranking = rank(results)
    best = [run for run, place in zip(runs, ranking.places, strict=True) if place == 1]
    data = {
        "run": name,
        "onset": None,
        "palette": charts.palette(),
        "losses": charts.smoothed_losses(recordings.items(), arrays),
    }
    still = svg(figures.smoothed_losses(recordings), "Smoothed losses of the runs over all iterations")
    return _with_charts(
        "compare.html",
        data,
        arrays,
        rows=list(zip(runs, runs.values(), results, ranking.places, strict=True)),
        first=name,
        settings={name: ()} | {other.name: other.settings for other in others},
        title=f"{list_names(best)} {'is' if len(best) == 1 else 'are'} first of {len(runs)} runs: smoothed losses",
        criterion=ranking.criterion,
        changes=messages.changes,
        tests=messages.tests,
        headline=headline,
        messages=messages,
        still=still,
    )


def index(name: str, rows: Sequence[Row], report_command: str) -> str:
    """Render the index of a directory of runs."""
    return render("index.html", name=name, rows=in_order(rows), report_command=report_command)


def _with_charts(template: str, data: Mapping[str, Any], arrays: Arrays, **given: Any) -> str:
    """Render a page with charts that react to the reader."""
    return render(
        template,
        # only a "<" can end a script element
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        arrays=arrays.packed(),
        plotly=plotly_js(),
        script="\n".join(text_of(f"scripts/{name}.js") for name in _SCRIPTS),
        **given,
    )
