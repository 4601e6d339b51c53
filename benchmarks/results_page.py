"""Writes ``docs/results.md`` from the JSON files under ``benchmarks/results``.

python -m benchmarks.results_page [--check]
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.panels import Curve, panels_svg
from benchmarks.reproduce.cells import Cell, Table
from benchmarks.reproduce.results import syntheses
from benchmarks.reproduce.tables import TABLES
from benchmarks.scatter import Point, scatter_svg

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
IMAGES = PAGE.parent / "images"

HEAD = """# Results

Every number here is measured; this page is generated (`python -m benchmarks.results_page`) from the
files in [benchmarks/results](../benchmarks/results), which hold the raw runs, the seeds, the
versions and the machine. Accuracies are percent: mean +- sample standard deviation over n students;
or over syntheses of so many students each, where it says "3 x 5".

`cifar10-jpeg` is CIFAR-10 re-encoded as JPEG, read from an archive and normalised with its own mean
and deviation. That deviation is 1.2 to 1.3 times the published one, so a step on normalised images
is larger in pixels than in the papers ([protocols](protocols.md#data)).
"""

SEARCH = """## Which labels pay

Students tested on held-out training images, never on the test set; the teachers, the base images
and the labels come from the other nine tenths. Cells that failed to help are listed like the
others. *control* spoils the labels on purpose: exchanged between classes, noise of the same mean
and spread, zeros, or the assigned labels moved by noise as far as learning moved them. Bytes are
those of the labels alone, float32 unless a row says otherwise.
"""

SERVICE = """## Through the service, on the test set

CIFAR-10 (JPEG re-encoded), uploaded as an archive and condensed by jobs over REST.
"""

SPEED = """## Speed

Seconds of one step, ours against a plain eager float32 loop in the style of the published code, in
turns within one run; the ratio is the median of the ratios per round.
"""


def render() -> dict[Path, str]:
    """The page and its charts, as text by path."""
    charts: dict[Path, str] = {}
    parts = [HEAD]
    for name, section in (("cifar10", _service), ("label_search", _search)):
        path = RESULTS / f"{name}.json"
        if path.exists():
            parts.append("\n".join(section(json.loads(path.read_text()))))
    searched = RESULTS / "label_search.json"
    if searched.exists():
        charts = _charts(json.loads(searched.read_text()))
    for name, table in TABLES.items():
        for path in sorted((RESULTS / "reproduce").glob(f"{name}_*.json")):
            found, chart = json.loads(path.read_text()), IMAGES / f"{path.stem}.svg"
            if table.beside:
                charts[chart] = curves_svg(found, table, table.beside)
            parts.append("\n".join(reproduced(found, table, chart.name if table.beside else "")))
    speeds = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    parts.append("\n".join(_speed([found for found in speeds if "ratio_median" in found])))
    return charts | {PAGE: "\n".join(parts)}


def _charts(found: dict[str, Any]) -> dict[Path, str]:
    """Accuracy over bytes for every base that has several kinds of labels."""
    cells = [cell for cell in found["cells"].values() if not cell["control"]]
    charts = {}
    for base in dict.fromkeys(cell["base"] for cell in cells):
        points = [_point(cell) for cell in cells if cell["base"] == base]
        if len({point.series for point in points}) > 2:
            charts[_chart_path(base)] = scatter_svg(points, f"CIFAR-10, {base} per class")
    return charts


def _chart_path(base: str) -> Path:
    return IMAGES / f"labels_{re.sub('[^a-z0-9]+', '_', base)}.svg"


def _point(cell: dict[str, Any]) -> Point:
    kinds = " + ".join(cell["labels"]) or "no labels"
    storage = [own["storage"] for own in cell["labels"].values() if "storage" in own]
    return Point(
        size=sum(cell["bytes"].values()),
        accuracy=100 * cell["mean"],
        spread=100 * cell["std"],
        series=kinds,
        name=" ".join([kinds, *storage]),
    )


def _service(found: dict[str, Any]) -> Iterator[str]:
    yield SERVICE
    for title, job in found["jobs"].items():
        yield f"### {title}\n"
        yield "| training set | bytes | accuracy | n |"
        yield "|---|---:|---:|---:|"
        for arm in job["report"]["arms"]:
            runs = arm["runs"]
            yield f"| {arm['title']} | {arm['train_bytes']:,} | {_spread(runs)} | {len(runs)} |"
        protocol, epochs = job["report"]["protocol"], job["report"]["epochs"]
        yield f"\nProtocol `{protocol}`, {epochs} epochs. {_machine(job)}"


def curves_svg(found: dict[str, Any], table: Table, beside: str) -> str:
    """Accuracy of what is trained on without labels, over the share of the training set."""
    wanted = [cell for cell in table.cells if cell.arm == "base"]
    rows = dict.fromkeys(cell.row for cell in wanted)
    curves = {row: _curve(row, wanted, found, table) for row in rows}
    reference = curves.pop(beside)
    return panels_svg(list(curves.values()), reference, f"CIFAR-10, {table.title}")


def _curve(row: str, cells: Sequence[Cell], found: dict[str, Any], table: Table) -> Curve:
    own = {float(cell.column.rstrip(" %")): cell for cell in cells if cell.row == row}
    runs = {
        share: [run for runs in syntheses(cell, found, table.seeds).values() for run in runs]
        for share, cell in own.items()
    }
    return Curve(
        row,
        ours={x: (100 * fmean(all_), 100 * _deviation(all_)) for x, all_ in runs.items() if all_},
        paper={x: cell.paper for x, cell in own.items() if cell.paper is not None},
    )


def reproduced(found: dict[str, Any], table: Table, chart: str = "") -> Iterator[str]:
    """The section of one table, line by line; ``chart`` is the file of its picture, if any."""
    scale = {"cpu": "short runs that fit a CPU", "paper": "the published settings"}[found["scale"]]
    yield f"## {table.title}\n"
    brackets = "; the paper's number in brackets" if any(c.paper for c in table.cells) else ""
    yield f"{table.caption} On `{found['dataset']}`, {scale}{brackets}.\n"
    if chart:
        yield f"![accuracy over the size of the set](images/{chart})\n"
    yield "| | " + " | ".join(table.columns) + " |"
    yield "|---" + "|---:" * len(table.columns) + "|"
    cells = {(cell.row, cell.column): cell for cell in table.cells}
    for row in table.rows:
        own = [_cell(cells.get((row, column)), found, table.seeds) for column in table.columns]
        if any(own):
            yield f"| {row} | " + " | ".join(own) + " |"
    yield ""
    yield from _gains(found, table, cells)


def _cell(cell: Cell | None, found: dict[str, Any], seeds: Sequence[int]) -> str:
    """Ours, n, and the paper's; empty where nothing was run."""
    sets = syntheses(cell, found, seeds)
    if cell is None or not sets:
        return ""
    paper = f" ({cell.paper:g})" if cell.paper is not None else ""
    students = {len(runs) for runs in sets.values()}
    assert len(students) == 1, "syntheses of one cell differ in their students"
    if len(sets) == 1:
        (runs,) = sets.values()
        return f"{_spread(runs)}, n={len(runs)}{paper}"
    return (
        f"{_spread([fmean(runs) for runs in sets.values()])}, {len(sets)} x {students.pop()}{paper}"
    )


def _gains(
    found: dict[str, Any], table: Table, cells: dict[tuple[str, str], Cell]
) -> Iterator[str]:
    """Differences of rows with their standard error, where both were run."""
    for row, other in table.gains:
        for column in table.columns:
            ours = syntheses(cells.get((row, column)), found, table.seeds)
            theirs = syntheses(cells.get((other, column)), found, table.seeds)
            gains = _differences(ours, theirs)
            if gains:
                error = f" +- {100 * stdev(gains) / len(gains) ** 0.5:.2f}" if gains[1:] else ""
                yield f"- *{row}* over *{other}*, {column}: {100 * fmean(gains):+.2f}{error}"
    if table.gains:
        yield (
            "\nThese are means over syntheses, +- the standard error. Where there is one "
            "synthesis, the error is over its students, those of equal seed in pairs.\n"
        )


def _differences(ours: dict[int, list[float]], theirs: dict[int, list[float]]) -> list[float]:
    """Differences by synthesis; of a single one, by student."""
    both = sorted(ours.keys() & theirs.keys())
    if len(both) != 1:
        return [fmean(ours[seed]) - fmean(theirs[seed]) for seed in both]
    (seed,) = both
    return [own - other for own, other in zip(ours[seed], theirs[seed], strict=True)]


def _search(found: dict[str, Any]) -> Iterator[str]:
    yield SEARCH
    cells, drawn = list(found["cells"].values()), _charts(found)
    for base in dict.fromkeys(cell["base"] for cell in cells):
        own = [cell for cell in cells if cell["base"] == base]
        yield f"### {base} per class\n"
        if _chart_path(base) in drawn:
            yield f"![accuracy over bytes](images/{_chart_path(base).name})\n"
        yield "| labels | control | label bytes | accuracy | n | drift |"
        yield "|---|---|---:|---:|---:|---:|"
        for cell in sorted(own, key=lambda cell: -cell["mean"]):
            size = sum(v for k, v in cell["bytes"].items() if k not in ("images", "labels"))
            drift = [v for k, v in cell["metrics"].items() if k.endswith("label_drift") and v]
            yield (
                f"| {_labels(cell['labels'])} | {cell['control']} | {size:,} "
                f"| {_spread(cell['runs'])} | {len(cell['runs'])} "
                f"| {', '.join(f'{v:.2f}' for v in drift)} |"
            )
        yield ""
    yield _machine(found)


def _speed(found: list[dict[str, Any]]) -> Iterator[str]:
    yield SPEED
    yield "| what | images per class | plain, s | ours, s | ratio |"
    yield "|---|---:|---:|---:|---:|"
    for result in found:
        plain, ours = (
            min(value for run in result[f"seconds_{side}"] for value in run)
            for side in ("plain", "ours")
        )
        yield (
            f"| {result['benchmark']} | {result['images_per_class']} | {plain:.2f} | {ours:.2f} "
            f"| {result['ratio_median']:.2f} |"
        )
    yield ""


def _labels(labels: dict[str, dict[str, Any]]) -> str:
    if not labels:
        return "none"
    return " + ".join(
        f"`{name}`" + (f" ({_options(options)})" if options else "")
        for name, options in labels.items()
    )


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in options.items())


def _spread(runs: list[float]) -> str:
    return f"{100 * sum(runs) / len(runs):.2f} +- {100 * _deviation(runs):.2f}"


def _deviation(runs: Sequence[float]) -> float:
    return stdev(runs) if len(runs) > 1 else 0.0


def _machine(found: dict[str, Any]) -> str:
    where = found["environment"]
    return (
        f"Measured on {where['machine']} ({where['engine']}), torch {where['torch']}, "
        f"commit {where['commit']}.\n"
    )


def main() -> int:
    """Write the page and its charts, or with ``--check`` fail if it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    files = render()
    if not parser.parse_args().check:
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path
        for path, text in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"stale: {path.name}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
