"""``dcpi train`` and ``test-data``: work with a bundle that is already there."""

from pathlib import Path
from typing import Annotated

import typer

from dcpi_core.cli import asking, screen, sources
from dcpi_core.cli.interrupts import interruptible
from dcpi_core.cli.outputs import require_place
from dcpi_core.cli.table import Row, accuracy_table, rows_of

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="directory or zip")]
Student = Annotated[
    str | None,
    typer.Option("--network", help="default: the network of the recipe", show_default=False),
]
Repeats = Annotated[
    int | None,
    typer.Option("--repeats", min=1, max=100, help="default: as many as in the report"),
]
TestFile = Annotated[
    Path | None,
    typer.Option(
        "--test",
        help="test images from `dcpi test-data`; default: the source dataset's test split",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]


def train(
    bundle: BundlePath,
    network: Student = None,
    repeats: Repeats = None,
    test: TestFile = None,
    archive: asking.ArchiveFile = None,
    image_size: asking.ImageSize = None,
    data_root: asking.DataRoot = None,
    cache: asking.Cache = asking.CACHE,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    as_json: asking.AsJson = False,
) -> None:
    """Train students on a bundle, test them, and compare with the bundle's report."""
    from dcpi_core.bundle import load
    from dcpi_core.evaluation.verification import Watch, retrain

    loaded = load(bundle)
    name = network or loaded.manifest.recipe.network.name
    origin = sources.Origin(archive, image_size, data_root, cache)
    split = sources.read_test(origin, loaded.spec.dataset, test)
    seeds = _seeds(loaded.report.seeds, repeats)
    with interruptible() as stop, screen.PhaseBars(quiet=as_json) as bars:
        runs = retrain(loaded, split, seeds, network, device, Watch(bars, stop))
    size = loaded.manifest.budget.bytes.total
    rows = rows_of(loaded.report)
    rows.append(Row("measured", "this bundle, trained now", name, runs, size))
    if as_json:
        screen.print_json({"network": name, "seeds": seeds, "runs": runs})
    else:
        screen.out().print(accuracy_table(rows, loaded.manifest.name))


def _seeds(reported: tuple[int, ...], repeats: int | None) -> tuple[int, ...]:
    """The report's seeds, so that runs can be compared one by one; then the numbers after them."""
    missing = max(0, (repeats or 0) - len(reported))
    further = range(max(reported) + 1, max(reported) + 1 + missing)
    return (*reported, *further)[:repeats]


def export_test(
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="a published dataset, or what to call the archive"),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", dir_okay=False, help="the .npz file to write")
    ] = Path("test.npz"),
    archive: asking.ArchiveFile = None,
    image_size: asking.ImageSize = None,
    data_root: asking.DataRoot = None,
    cache: asking.Cache = asking.CACHE,
) -> None:
    """Write the test split as `test.npz`, for the train.py inside a bundle."""
    import numpy as np

    require_place(out)
    source = sources.read_source(sources.Origin(archive, image_size, data_root, cache), dataset)
    with out.open("wb") as stream:
        np.savez(stream, images=source.test.images.numpy(), labels=source.test.labels.numpy())
    screen.out().print(f"{len(source.test)} test images: {out}", markup=False)
