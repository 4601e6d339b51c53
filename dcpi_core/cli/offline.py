"""``dcpi condense``: a whole job on this machine, without a service."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dcpi_core.cli import asking, screen, sources
from dcpi_core.cli.interrupts import INTERRUPTED, stop_on_interrupt
from dcpi_core.cli.outputs import require_own, require_workspace
from dcpi_core.cli.table import accuracy_table, rows_of
from dcpi_core.pruning import prune_assets
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.progress import Stopped

OutDir = Annotated[Path, typer.Option("--out", help="directory for the bundle; must not exist yet")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]


def condense(
    out: OutDir,
    spec: asking.SpecFile = None,
    dataset: asking.DatasetName = None,
    fraction: asking.FractionText = None,
    images_per_class: asking.PerClass = None,
    method: asking.MethodName = None,
    pi: asking.PiNames = None,
    network: asking.NetworkName = None,
    seed: asking.SeedNumber = None,
    settings: asking.Settings = None,
    archive: asking.ArchiveFile = None,
    image_size: asking.ImageSize = None,
    data_root: asking.DataRoot = None,
    cache: asking.Cache = asking.CACHE,
    device: Device = "auto",
    as_json: asking.AsJson = False,
) -> None:
    """Condense a dataset here and write the bundle.

    Ctrl-C stops at the next safe point; the same command then continues from there.
    """
    asked = asking.Asked(
        spec, dataset, fraction, images_per_class, method, pi, network, seed, settings
    )
    require_own(out)
    require_workspace(_workspace(out))
    origin = sources.Origin(archive, image_size, data_root, cache)
    prepared = sources.prepare(origin, dataset, quiet=as_json)
    job = asking.read_spec(asked, prepared.facts if prepared else None)
    place = _Place(out, origin, prepared.path if prepared else None, device)
    _run(job, place, screen.PhaseBars(quiet=as_json))
    prune_assets(origin.assets)
    _show(out, as_json)


@dataclass(frozen=True)
class _Place:
    """Where a job reads and writes; its checkpoint lies beside the bundle to be."""

    out: Path
    origin: sources.Origin
    dataset_file: Path | None
    device: str

    @property
    def workspace(self) -> Path:
        return _workspace(self.out)


def _workspace(out: Path) -> Path:
    return out.with_name(out.name + ".work")


def _run(job: JobSpec, place: _Place, bars: screen.PhaseBars) -> None:
    from dcpi_core.pipeline import Workplace, run

    workplace = Workplace(
        workspace=place.workspace,
        assets=place.origin.assets,
        data_root=place.origin.data_root,
        dataset_file=place.dataset_file,
    )
    place.workspace.mkdir(parents=True, exist_ok=True)
    try:
        with bars, stop_on_interrupt() as stop:
            bundle = run(job, workplace, progress=bars, stop=stop, device=place.device)
    except Stopped:
        screen.err().print(
            f"stopped; {place.workspace} holds everything done so far; the same command continues",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    if place.out.exists():
        place.out.rmdir()
    shutil.move(bundle, place.out)
    shutil.rmtree(place.workspace)


def _show(directory: Path, as_json: bool) -> None:
    from dcpi_core.bundle import load

    bundle = load(directory)
    if as_json:
        screen.print_json(
            {
                "bundle": str(directory),
                "id": bundle.manifest.id,
                "spec_sha256": bundle.manifest.spec_sha256,
                "report": bundle.report.model_dump(mode="json"),
            }
        )
        return
    console = screen.out()
    console.print(accuracy_table(rows_of(bundle.report), bundle.manifest.name))
    console.print(f"bundle: {directory}", markup=False)
