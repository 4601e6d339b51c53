"""Everything that must hold for a bundle to be trusted; ``load`` and ``verify`` ask the same."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from dcpi_core.bundle.source import Source, open_source
from dcpi_core.spec.errors import BundleError
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    TensorInfo,
    class_order_digest,
    parse_manifest,
)
from dcpi_core.spec.report import Report

DATA_NAME = "data.safetensors"
REPORT_NAME = "report.json"
SPEC_NAME = "spec.json"
SUMS_NAME = "SHA256SUMS"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``detail`` says what is wrong, or what was found."""

    name: str
    passed: bool
    detail: str = ""


class Contents:
    """A bundle's files, each read once and handed out only if its digest agrees."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @cached_property
    def manifest_bytes(self) -> bytes:
        return self._source.read(MANIFEST_NAME)

    @cached_property
    def manifest(self) -> Manifest:
        return parse_manifest(self.manifest_bytes)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        try:
            return safetensors.torch.load(self.file(DATA_NAME))
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise BundleError(f"{DATA_NAME} is not a safetensors file: {error}") from None

    @cached_property
    def report(self) -> Report:
        try:
            # A newer minor version may have added fields; those are not an error.
            return Report.model_validate_json(self.file(REPORT_NAME), extra="ignore")
        except ValidationError as error:
            raise BundleError(f"{REPORT_NAME}: {_first(error)}") from None

    @cached_property
    def spec(self) -> JobSpec:
        try:
            return JobSpec.model_validate_json(self.file(SPEC_NAME), extra="ignore")
        except ValidationError as error:
            raise BundleError(f"{SPEC_NAME}: {_first(error)}") from None

    def sums(self) -> dict[str, str]:
        """Digest by file name as ``SHA256SUMS`` has it."""
        text = self._source.read(SUMS_NAME).decode("utf-8", errors="replace")
        rows = [line.partition("  ") for line in text.splitlines() if line]
        return {name: digest for digest, _, name in rows}

    def file(self, path: str) -> bytes:
        """The content of a listed file.

        Raises:
            BundleError: it is not listed, missing, or its size or digest differs.
        """
        entry = self.manifest.file(path)
        data = self._source.read(path, limit=entry.bytes)
        if len(data) != entry.bytes:
            raise BundleError(f"{path} has {len(data)} bytes, the manifest says {entry.bytes}")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"{path} does not match its sha256; download it again")
        return data


def verify(path: str | Path) -> list[Check]:
    """Check a bundle directory or zip completely and say what was found; raises nothing."""
    try:
        with open_source(path) as source:
            return [_outcome(name, check) for name, check in all_checks(Contents(source))]
    except BundleError as error:
        return [Check("bundle", passed=False, detail=error.detail)]


def require(contents: Contents) -> None:
    """Run every check.

    Raises:
        BundleError: the first check that does not hold, naming the file.
    """
    for _, check in all_checks(contents):
        check()


def all_checks(contents: Contents) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each check by name; it returns what it found or raises BundleError."""
    manifest = contents.manifest
    yield MANIFEST_NAME, lambda: f"{manifest.format}, {manifest.name}"
    for entry in manifest.files:
        yield entry.path, _file_check(contents, entry)
    yield SUMS_NAME, lambda: _check_sums(contents)
    yield "class order", lambda: _check_classes(manifest)
    yield "tensors", lambda: _check_tensors(contents)
    yield "finite values", lambda: _check_finite(contents.tensors)
    yield "class counts", lambda: _check_labels(contents)
    yield "spec", lambda: _check_spec(contents)
    yield "report", lambda: _check_report(contents)


def _outcome(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, passed=True, detail=check())
    except BundleError as error:
        return Check(name, passed=False, detail=error.detail)


def _file_check(contents: Contents, entry: FileEntry) -> Callable[[], str]:
    def check() -> str:
        contents.file(entry.path)
        return f"{entry.bytes} bytes, sha256 {entry.sha256[:12]}..."

    return check


def _check_sums(contents: Contents) -> str:
    expected = {entry.path: entry.sha256 for entry in contents.manifest.files}
    expected[MANIFEST_NAME] = hashlib.sha256(contents.manifest_bytes).hexdigest()
    found = contents.sums()
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        raise BundleError(f"{SUMS_NAME} disagrees with {MANIFEST_NAME} about {', '.join(wrong)}")
    return f"{len(found)} files"


def _check_classes(manifest: Manifest) -> str:
    task = manifest.task
    if len(task.classes) != task.num_classes:
        raise BundleError(
            f"{MANIFEST_NAME} names {len(task.classes)} classes but says {task.num_classes}"
        )
    if class_order_digest(task.classes) != task.class_order_sha256:
        raise BundleError(f"{MANIFEST_NAME}: the class names or their order were changed")
    return f"{task.num_classes} classes"


def _described(manifest: Manifest) -> list[TensorInfo]:
    own = [manifest.images.tensor, manifest.labels.hard]
    if manifest.images.source_indices is not None:
        own.append(manifest.images.source_indices)
    if manifest.labels.weights is not None:
        own.append(manifest.labels.weights)
    return own + [tensor for part in manifest.privileged for tensor in part.tensors]


def _check_tensors(contents: Contents) -> str:
    tensors = contents.tensors
    for info in _described(contents.manifest):
        if info.name not in tensors:
            raise BundleError(f"{DATA_NAME} has no tensor {info.name!r}")
        tensor = tensors[info.name]
        found = (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        if found != (info.shape, info.dtype):
            raise BundleError(
                f"{DATA_NAME}: {info.name!r} is {found[1]}{list(found[0])}, "
                f"the manifest says {info.dtype}{list(info.shape)}"
            )
    _check_image_shape(contents.manifest)
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(tensors.items()))


def _check_image_shape(manifest: Manifest) -> None:
    network = manifest.recipe.network
    expected = (manifest.budget.num_images, network.in_channels, *network.image_size)
    if (manifest.images.tensor.shape, manifest.images.tensor.dtype) != (expected, "float32"):
        raise BundleError(
            f"{MANIFEST_NAME}: images are {manifest.images.tensor.dtype}"
            f"{list(manifest.images.tensor.shape)}, budget and recipe say float32{list(expected)}"
        )


def _check_finite(tensors: dict[str, Tensor]) -> str:
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(f"{DATA_NAME}: {name!r} holds NaN or infinite values")
    return "no NaN, no infinity"


def _check_labels(contents: Contents) -> str:
    manifest = contents.manifest
    _check_tensors(contents)
    labels = contents.tensors[manifest.labels.hard.name]
    if labels.shape != (manifest.budget.num_images,) or labels.dtype != torch.int64:
        raise BundleError(f"{DATA_NAME}: one int64 label per image is expected")
    if labels.min() < 0 or labels.max() >= manifest.task.num_classes:
        raise BundleError(f"{DATA_NAME}: labels must be 0 to {manifest.task.num_classes - 1}")
    counts = tuple(labels.bincount(minlength=manifest.task.num_classes).tolist())
    if counts != manifest.images.per_class:
        raise BundleError(f"{DATA_NAME}: images per class differ from the manifest's per_class")
    _check_weights(contents)
    _check_privileged(manifest)
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} per class"


def _check_weights(contents: Contents) -> None:
    info = contents.manifest.labels.weights
    if info is None:
        return
    weights = contents.tensors[info.name]
    if weights.shape != (contents.manifest.budget.num_images,) or bool((weights < 0).any()):
        raise BundleError(f"{DATA_NAME}: one weight per image is expected, none of them negative")


def _check_privileged(manifest: Manifest) -> None:
    rows = manifest.budget.num_images * manifest.images.partition**2
    for tensor in (tensor for part in manifest.privileged for tensor in part.tensors):
        if tensor.shape[:1] != (rows,):
            raise BundleError(
                f"{DATA_NAME}: {tensor.name!r} is {list(tensor.shape)}, but students see {rows} "
                "images, and each needs its own"
            )


def _check_spec(contents: Contents) -> str:
    spec, manifest = contents.spec, contents.manifest
    # Digest the file's own fields: those of a newer minor version count, too.
    data = json.loads(contents.file(SPEC_NAME))
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != manifest.spec_sha256:
        raise BundleError(f"{SPEC_NAME} is not the spec the manifest names by digest")
    if spec.dataset.classes != manifest.task.classes:
        raise BundleError(f"{SPEC_NAME} has other classes than {MANIFEST_NAME}")
    return f"sha256 {manifest.spec_sha256[:12]}..."


def _check_report(contents: Contents) -> str:
    report = contents.report
    return f"{len(report.arms)} arms, seeds {list(report.seeds)}"


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'/'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
