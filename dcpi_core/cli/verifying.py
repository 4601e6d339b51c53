"""``dcpi verify``: is a bundle whole, and is its report true?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from dcpi_core.cli import asking, bundles, remote, screen, sources, verdicts
from dcpi_core.cli.interrupts import interruptible
from dcpi_core.cli.outputs import require_place
from dcpi_core.cli.remote import LOCAL, ApiKey, Server
from dcpi_core.client import Client
from dcpi_core.spec.errors import BundleError, InvalidInput
from dcpi_core.spec.verification import Verification

if TYPE_CHECKING:
    from dcpi_core.bundle import Check

Retrain = Annotated[
    bool, typer.Option("--retrain", help="train students again and compare with the report")
]
Repeats = Annotated[
    int | None,
    typer.Option(
        "--repeats",
        min=1,
        help="students of each arm to train again; default: as many as in the report, with "
        "--remote at most 3",
        show_default=False,
    ),
]
Remote = Annotated[
    bool, typer.Option("--remote", help="BUNDLE is an id: have the service train again")
]
RecordFile = Annotated[
    Path | None,
    typer.Option(
        "--record",
        dir_okay=False,
        help="where the record of the training goes, and is read from later; "
        "default: BUNDLE.verification.json",
        show_default=False,
    ),
]

HERE_ONLY = (
    "with --remote the service trains again, on its own device, files and test images; leave out "
    "--retrain, --device, --record, --test, --archive, --image-size and --data-root"
)
TRAINING_ONLY = (
    "without --retrain nothing is trained; add it, or leave out --repeats, --device, --test, "
    "--archive, --image-size and --data-root"
)


def verify(
    bundle: bundles.BundlePath,
    again: Retrain = False,
    repeats: Repeats = None,
    record: RecordFile = None,
    test: bundles.TestFile = None,
    archive: asking.ArchiveFile = None,
    image_size: asking.ImageSize = None,
    data_root: asking.DataRoot = None,
    cache: asking.Cache = asking.CACHE,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    at_the_service: Remote = False,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    as_json: asking.AsJson = False,
) -> None:
    """Check every file, digest, shape and value of a bundle; exit status 1 if one is wrong.

    With --retrain, students are trained again from the bundle's bytes by its recipe; status 1 then
    also says that their mean accuracy is not the reported one. The record is written beside the
    bundle; later calls show it, and end with the same status.

    With --remote, BUNDLE is the id of a condensed dataset, and the service trains on the files that
    it has published.
    """
    own_device = None if device == "auto" else device
    of_training = (own_device, test, archive, image_size, data_root)
    if at_the_service:
        _refuse(HERE_ONLY, again or None, record, *of_training)
        _verify_at_the_service(str(bundle), repeats, Client(server, api_key=api_key), as_json)
        return
    if not again:
        _refuse(TRAINING_ONLY, repeats, *of_training)
        _require_record(record)
    from dcpi_core.bundle import verify as checks_of
    from dcpi_core.evaluation.verification import record_path

    checks = checks_of(bundle)
    passed = all(check.passed for check in checks)
    record = record or record_path(bundle)
    origin = sources.Origin(archive, image_size, data_root, cache)
    trained = None
    if passed and again:
        require_place(record)
        trained = _train_again(bundle, origin, test, repeats, device, quiet=as_json)
        record.write_text(trained.model_dump_json(indent=2) + "\n", encoding="utf-8")
    elif passed and record.exists():
        trained = _read(record, bundle)
    _show(checks, trained, as_json)
    if not passed or (trained is not None and trained.verdict != "reproduced"):
        raise typer.Exit(1)


def _show(checks: Sequence["Check"], trained: Verification | None, as_json: bool) -> None:
    if as_json:
        told = None if trained is None else trained.model_dump(mode="json")
        passed, shown = all(check.passed for check in checks), [vars(check) for check in checks]
        screen.print_json({"passed": passed, "checks": shown, "verification": told})
        return
    for check in checks:
        verdicts.line(check.passed, f"{check.name}: {check.detail}")
    if trained is not None:
        verdicts.show(trained)


def _refuse(why: str, *given: object) -> None:
    if any(value is not None for value in given):
        raise InvalidInput(why)


def _require_record(record: Path | None) -> None:
    if record is not None and not record.exists():
        raise InvalidInput(f"there is no record at {str(record)!r}; --retrain makes one")


def _verify_at_the_service(
    condensed_id: str, repeats: int | None, connection: Client, as_json: bool
) -> None:
    with connection as client:
        asked = client.condensed.verify(condensed_id, repeats=repeats)
        job = remote.follow(client, client.jobs.get(asked.job_id), quiet=as_json)
        found = client.condensed.verifications(condensed_id).get(asked.id)
    if as_json:
        screen.print_json(found.model_dump(mode="json"))
    elif found.record is not None:
        verdicts.show(found.record)
    if found.record is None:
        remote.tell_why(job)
    if found.outcome != "passed":
        raise typer.Exit(1)


def _train_again(
    path: Path,
    origin: sources.Origin,
    test: Path | None,
    repeats: int | None,
    device: str,
    *,
    quiet: bool,
) -> Verification:
    from dcpi_core.bundle import load
    from dcpi_core.compute import Runtime
    from dcpi_core.evaluation.verification import Watch, verify_by_training

    loaded = load(path)
    split = sources.read_test(origin, loaded.spec.dataset, test)
    runtime = Runtime.choose(device)
    with interruptible() as stop, screen.PhaseBars(quiet=quiet) as bars:
        watch = Watch(progress=bars, stop=stop)
        return verify_by_training(path, loaded, split, repeats, runtime, watch)


def _read(record: Path, bundle: Path) -> Verification | None:
    """The record of an earlier training; none if it is about other bytes than these.

    Raises:
        BundleError: the file is no such record.
    """
    from dcpi_core.evaluation.verification import manifest_digest

    try:
        found = Verification.model_validate_json(record.read_bytes())
    except ValidationError:
        raise BundleError(
            f"{record.name} is no record that this version reads; remove it, or use --retrain"
        ) from None
    if found.manifest_sha256 != manifest_digest(bundle):
        screen.err().print(f"{record.name} is about another bundle and not shown", markup=False)
        return None
    return found
