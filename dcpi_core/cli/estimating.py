"""``dcpi estimate``: what a job would cost. Imports no torch, unless an archive must be read."""

from collections.abc import Iterator

from dcpi_core.cli import asking, screen, sources
from dcpi_core.cli.remote import LOCAL, ApiKey, Server
from dcpi_core.client import Client
from dcpi_core.spec.estimate import Estimate
from dcpi_core.spec.estimate import estimate as estimate_of


def estimate(
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
    cache: asking.Cache = asking.CACHE,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    as_json: asking.AsJson = False,
) -> None:
    """Say what a job would cost, without running it.

    About an upload, whose id begins with ds_, the service is asked; it alone knows the images.
    """
    asked = asking.Asked(
        spec, dataset, fraction, images_per_class, method, pi, network, seed, settings
    )
    if archive is None and asking.is_about_upload(asked):
        with Client(server, api_key=api_key) as client:
            found = client.jobs.estimate(asking.read_submission(asked))
    else:
        origin = sources.Origin(archive, image_size, cache=cache)
        prepared = sources.prepare(origin, dataset, quiet=as_json)
        found = estimate_of(asking.read_spec(asked, prepared.facts if prepared else None))
    if as_json:
        screen.print_json(found.model_dump(mode="json"))
    else:
        for label, text in _lines(found):
            screen.out().print(f"{label:<12}{text}", markup=False)


def _lines(found: Estimate) -> Iterator[tuple[str, str]]:
    yield (
        "images",
        f"{found.num_images:,} ({found.images_per_class} per class, "
        f"{100 * found.effective_fraction:.3g} % of the training set)",
    )
    parts = [f"{name} {size:,}" for name, size in found.bytes.items() if name != "total"]
    total = found.bytes.get("total")  # none where a part is not known before the job has run
    yield "bytes", (f"{total:,} " if total is not None else "") + f"({', '.join(parts)})"
    if found.equivalent_images_per_class not in (None, found.images_per_class):
        equal = f"{found.equivalent_images_per_class:g}"
        yield "same bytes", f"{equal} images per class without privileged labels"
    for kind, (fastest, slowest) in found.seconds.items():
        yield f"time, {kind}", f"{_duration(fastest)} to {_duration(slowest)}"


def _duration(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.1f} h"
