"""Bundles: a condensed dataset with its manifest, report, card and previews, as plain files."""

from dcpi_core.bundle.archive import write_zip
from dcpi_core.bundle.checks import Check, verify
from dcpi_core.bundle.describe import Identity
from dcpi_core.bundle.reader import Bundle, load
from dcpi_core.bundle.tensors import from_tensors, stored_bytes, to_tensors
from dcpi_core.bundle.writer import write

__all__ = [
    "Bundle",
    "Check",
    "Identity",
    "from_tensors",
    "load",
    "stored_bytes",
    "to_tensors",
    "verify",
    "write",
    "write_zip",
]
