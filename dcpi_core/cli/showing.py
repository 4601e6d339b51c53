"""``dcpi show``: what a bundle's own report says. Imports no torch, unless the bundle is a zip."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from dcpi_core.cli import asking, screen
from dcpi_core.cli.bundles import BundlePath
from dcpi_core.cli.table import accuracy_table, rows_of
from dcpi_core.spec.errors import BundleError
from dcpi_core.spec.manifest import MANIFEST_NAME, Manifest, parse_manifest
from dcpi_core.spec.report import Difference, Report

REPORT_NAME = "report.json"


def show(bundle: BundlePath, as_json: asking.AsJson = False) -> None:
    """Print what a bundle's report says: accuracies, what differs and what that means, bytes.

    Nothing is trained, and no file but the report is checked; see `dcpi verify`.
    """
    manifest, report = _read(bundle.expanduser())
    if as_json:
        screen.print_json(report.model_dump(mode="json"))
        return
    console = screen.out()
    console.print(accuracy_table(rows_of(report), f"{manifest.name} ({manifest.id})"))
    for line in _lines(report):
        console.print(line, markup=False)


def _read(bundle: Path) -> tuple[Manifest, Report]:
    """Manifest and report of a directory or zip.

    Raises:
        BundleError: there is no bundle, or its report is not the one that it was written with.
    """
    if not bundle.is_dir():
        from dcpi_core.bundle.checks import Contents
        from dcpi_core.bundle.source import open_source

        with open_source(bundle) as source:
            contents = Contents(source)
            return contents.manifest, contents.report
    try:
        manifest = parse_manifest((bundle / MANIFEST_NAME).read_bytes())
        data = (bundle / REPORT_NAME).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.file(REPORT_NAME).sha256:
            raise BundleError(f"{REPORT_NAME} does not match its sha256; download it again")
        # A newer minor version may have added fields; those are not an error.
        return manifest, Report.model_validate_json(data, extra="ignore")
    except OSError as error:
        name = Path(error.filename).name if error.filename else str(bundle)
        raise BundleError(f"no bundle at {str(bundle)!r}: {name}: {error.strerror}") from None
    except ValidationError:
        raise BundleError(f"{REPORT_NAME} is no report that this version reads") from None


def _lines(report: Report) -> Iterator[str]:
    if report.differences:
        count = report.differences[0].n
        yield f"\npaired differences in points, mean and standard error over {count} seeds"
        yield from map(_difference, report.differences)
    parts = {"images": report.bytes.images, "labels": report.bytes.labels} | report.bytes.privileged
    listed = ", ".join(f"{name} {size:,}" for name, size in parts.items())
    yield f"\nbytes: {report.bytes.total:,} ({listed})"
    yield (
        f"protocol {report.protocol}, {report.epochs} epochs, {report.num_test:,} test images, "
        f"{report.environment.machine}"
    )


def _difference(found: Difference) -> str:
    error = "" if found.standard_error is None else f" ± {100 * found.standard_error:.2f}"
    tells = f": {found.tells}" if found.tells else ""
    arms = f"{found.arm} against {found.against}, {found.network}"
    return f"  {100 * found.mean:+.2f}{error}  {arms}{tells}"
