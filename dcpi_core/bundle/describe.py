"""From a condensed set, its spec and its report to the manifest that describes them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from dcpi_core.bundle.tensors import (
    IMAGES,
    LABELS,
    SOURCE_INDICES,
    WEIGHTS,
    stored_bytes,
    tensor_name,
    to_tensors,
)
from dcpi_core.condensed import CondensedSet
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.manifest import (
    Budget,
    Bytes,
    ComponentInfo,
    FileEntry,
    Images,
    Labels,
    Manifest,
    Method,
    NetworkRecipe,
    Normalize,
    Preprocess,
    Privileged,
    Recipe,
    Schedule,
    Source,
    SourceLicense,
    Task,
    TensorInfo,
    Versions,
    class_order_digest,
)
from dcpi_core.spec.protocols import augmentation_of
from dcpi_core.spec.report import Report, shipped_arm


@dataclass(frozen=True)
class Identity:
    """What a bundle is called. Neither field can be derived from the content.

    Left at the defaults, the same spec gives the same bundle byte for byte.
    """

    name: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class Content:
    """Everything that goes into one bundle."""

    condensed: CondensedSet
    spec: JobSpec
    report: Report
    identity: Identity = Identity()

    @cached_property
    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and settings as they are written."""
        return to_tensors(self.condensed)


def describe(content: Content, files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest of ``content`` stored as ``files``."""
    spec, report = content.spec, content.report
    return Manifest(
        id=_identifier(spec, files),
        name=content.identity.name or default_name(spec),
        created_at=content.identity.created_at,
        source=_source(spec),
        task=_task(spec),
        images=_images(content),
        preprocess=Preprocess(normalize=Normalize(mean=spec.dataset.mean, std=spec.dataset.std)),
        labels=_labels(content),
        privileged=_privileged(content),
        budget=_budget(content),
        recipe=_recipe(spec, report),
        method=_method(spec),
        versions=Versions(
            dcpi=report.environment.dcpi,
            python=report.environment.python,
            torch=report.environment.torch,
        ),
        spec_sha256=spec.digest(),
        files=files,
    )


def default_name(spec: JobSpec) -> str:
    """A name that says what the set is, e.g. ``cifar10-dc-feature-10ipc``."""
    parts = [spec.dataset.name, spec.base_method.name, *(p.name for p in spec.privileged)]
    return "-".join([*parts, f"{spec.images_per_class}ipc"])


def _identifier(spec: JobSpec, files: tuple[FileEntry, ...]) -> str:
    data = "".join(entry.sha256 for entry in files if entry.role == "training")
    return "cds_" + hashlib.sha256(f"{spec.digest()}/{data}".encode()).hexdigest()[:24]


def _source(spec: JobSpec) -> Source:
    facts = spec.dataset
    return Source(
        dataset=facts.name,
        title=facts.title,
        num_train=facts.num_train,
        num_test=facts.num_test,
        fingerprint=facts.fingerprint,
        license=SourceLicense.model_validate(facts.license.model_dump()),
        homepage=facts.homepage,
        citation=facts.citation,
    )


def _task(spec: JobSpec) -> Task:
    classes = spec.dataset.classes
    return Task(
        num_classes=len(classes), classes=classes, class_order_sha256=class_order_digest(classes)
    )


def _images(content: Content) -> Images:
    condensed = content.condensed
    counts = condensed.labels.bincount(minlength=content.spec.dataset.num_classes)
    chosen = condensed.source_indices is not None
    return Images(
        tensor=_info(content, IMAGES),
        color="RGB" if content.spec.dataset.channels == 3 else "gray",
        value_range=(float(condensed.images.min()), float(condensed.images.max())),
        per_class=tuple(int(count) for count in counts),
        learned=not chosen,
        partition=condensed.partition,
        source_indices=_info(content, SOURCE_INDICES) if chosen else None,
    )


def _labels(content: Content) -> Labels:
    soft = [labels.kind for labels in content.condensed.privileged if labels.replaces_hard_labels]
    weights = None if content.condensed.weights is None else _info(content, WEIGHTS)
    return Labels(hard=_info(content, LABELS), soft=soft[0] if soft else None, weights=weights)


def _privileged(content: Content) -> tuple[Privileged, ...]:
    tensors, settings = content.stored
    entries = []
    for part in settings["privileged"]:
        names = [tensor_name(part["kind"], short) for short in part["tensors"]]
        entries.append(
            Privileged(
                type=part["kind"],
                tensors=tuple(_info(content, name) for name in names),
                settings=part["settings"],
                bytes=sum(tensors[name].nbytes for name in names),
            )
        )
    return tuple(entries)


def _budget(content: Content) -> Budget:
    size = stored_bytes(content.condensed)
    return Budget(
        images_per_class=content.spec.images_per_class,
        num_images=content.spec.num_images,
        effective_fraction=content.spec.effective_fraction,
        bytes=Bytes(**size.model_dump(), total=size.total),
    )


def _recipe(spec: JobSpec, report: Report) -> Recipe:
    facts, epochs = spec.dataset, spec.evaluation.epochs
    # Feature labels fit the network they were learned with, so it is the student of choice.
    students = spec.evaluation.networks
    student = spec.network if spec.network in students else students[0]
    arm = shipped_arm(report.arms, student)
    return Recipe(
        protocol=spec.evaluation.protocol,
        network=NetworkRecipe(
            name=student,
            in_channels=facts.channels,
            num_classes=facts.num_classes,
            image_size=(facts.height, facts.width),
        ),
        epochs=epochs,
        passes=epochs + 1,
        schedule=Schedule(after_epoch_index=epochs // 2 + 1),
        augmentation=augmentation_of(spec.evaluation.protocol, facts.name),
        seeds=report.seeds,
        reported=arm.runs if arm else (),
    )


def _method(spec: JobSpec) -> Method:
    base, *privileged = (
        ComponentInfo(name=part.name, options=part.options)
        for part in (spec.base_method, *spec.privileged)
    )
    return Method(base=base, privileged=tuple(privileged), network=spec.network, seed=spec.seed)


def _info(content: Content, name: str) -> TensorInfo:
    tensor = content.stored[0][name]
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorInfo(name=name, shape=tuple(tensor.shape), dtype=dtype)
