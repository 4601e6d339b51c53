"""What a job will cost, from its spec alone: bytes exactly, time as a range.

The cost model counts floating-point operations of the parts that dominate (real gradients, inner
training, students and their tests) and divides by a rate measured on the kind of machine. It is
meant to tell minutes from hours, not to be believed to the second. Loops that may end early count
as if they did not. A test holds each method's count to what a short run of it does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

from pydantic import Field, WithJsonSchema

from dcpi_core.spec.base import Record
from dcpi_core.spec.catalog import Catalog, load_catalog
from dcpi_core.spec.controls import (
    ALIGNMENT_EPOCHS,
    ALIGNMENT_IMAGES,
    ALIGNMENT_STEPS,
    ALIGNMENT_STUDENTS,
    APPLY_TO_ANY_SET,
    WINDOWS_PER_UPDATE,
    images_per_class_in,
    iterates,
    label_steps,
    networks_matched_at,
    teachers_of,
    updates_of,
)
from dcpi_core.spec.job import Component, JobSpec
from dcpi_core.spec.rules import (
    chooses_freely,
    facts_at_size,
    feature_values,
    is_weighted,
    tunes_images,
)

FLOPS_PER_SECOND = {"cpu": (4e10, 3e11), "cuda": (5e12, 3e13)}
"""Slow and fast effective rates: two CPU cores, one large GPU (Winograd counted as direct)."""

TRAIN_PASSES = 3  # a backward pass costs about two forward passes
SECOND_ORDER_PASSES = 9
LAYERS_OF_FREQUENCY_NETWORK = 3

SecondsRange = Annotated[
    tuple[float, float],
    # Said without prefixItems, which few readers of OpenAPI documents know.
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]


class Estimate(Record):
    """Cost of a job before it runs.

    ``seconds`` is (fastest, slowest) by device kind. ``bytes`` are of the training data as stored;
    a part that cannot be known before the job runs is missing.
    """

    images_per_class: int
    num_images: int
    effective_fraction: float
    bytes: dict[str, int]
    equivalent_images_per_class: float | None = Field(
        description="images per class that the same bytes would hold without privileged labels"
    )
    flops: float
    seconds: dict[str, SecondsRange]


def estimate(spec: JobSpec, catalog: Catalog | None = None) -> Estimate:
    """Estimate the cost of a resolved job. Has no side effect and needs no torch."""
    catalog = catalog or load_catalog()
    sizes = _bytes(spec, catalog)
    known = all(component.name in sizes for component in spec.privileged)
    plain, total = sizes["images"] + sizes["labels"], sum(sizes.values())
    work = _flops(spec, sum(sizes.values()), catalog)
    return Estimate(
        images_per_class=spec.images_per_class,
        num_images=spec.num_images,
        effective_fraction=spec.effective_fraction,
        bytes=sizes | {"total": total} if known else sizes,
        equivalent_images_per_class=(
            round(spec.images_per_class * total / plain, 2) if known else None
        ),
        flops=work,
        seconds=_seconds(work),
    )


def estimate_verification(spec: JobSpec, repeats: int, catalog: Catalog | None = None) -> Estimate:
    """Estimate what it costs to train ``repeats`` students again on each arm of a job's bundle."""
    catalog = catalog or load_catalog()
    arms = 1 + bool(spec.privileged)
    arms += sum(name in spec.evaluation.controls for name in ("permuted", "other_view"))
    seen = [spec.num_images * _tiles(spec.base_method.options)] * arms
    work = _evaluation_flops(spec, seen, catalog) * repeats / spec.evaluation.repeats
    return Estimate(
        images_per_class=spec.images_per_class,
        num_images=spec.num_images,
        effective_fraction=spec.effective_fraction,
        bytes={},
        equivalent_images_per_class=None,
        flops=work,
        seconds=_seconds(work),
    )


def _seconds(flops: float) -> dict[str, SecondsRange]:
    return {
        kind: (round(flops / fast, 1), round(flops / slow + 10, 1))
        for kind, (slow, fast) in FLOPS_PER_SECOND.items()
    }


def _bytes(spec: JobSpec, catalog: Catalog) -> dict[str, int]:
    count, facts = spec.num_images, spec.dataset
    label = 12 if is_weighted(spec.base_method) else 8
    sizes = {"images": 4 * count * facts.image_bytes, "labels": label * count}
    count *= _tiles(spec.base_method.options)  # privileged labels are those of the tiles
    for component in spec.privileged:
        if component.name == "soft":
            sizes["soft"] = 4 * count * facts.num_classes
        elif component.name in _POOLED:
            layers = _network_facts(spec.network, spec, catalog).get("layers", {})
            shape = layers.get(component.options["layer"])
            if shape:
                sizes[component.name] = count * _label_bytes(component, shape)
    return sizes


_POOLED: dict[str, Callable[[Sequence[int]], int]] = {
    "feature": lambda shape: shape[0] * shape[1] * shape[2],
    "attention_spatial": lambda shape: shape[1] * shape[2],
    "attention_channel": lambda shape: shape[0],
}
_BYTES = {"float32": 4, "float16": 2, "int8": 1}
_INT8_EXTRA = 6  # scale and lowest value of an image


def _label_bytes(component: Component, shape: Sequence[int]) -> int:
    """Bytes that labels of features take for one image."""
    options = component.options
    kept = options["labels_per_image"] if options["combine"] == "random" else 1
    extra = _INT8_EXTRA if options["storage"] == "int8" else 0
    return int(kept * _POOLED[component.name](shape)) * _BYTES[options["storage"]] + extra


GRADIENT_MATCHING = {"real": TRAIN_PASSES, "synthetic": SECOND_ORDER_PASSES}
"""Forward passes that one image of an update costs; other methods say theirs in the catalogue."""


def _flops(spec: JobSpec, total_bytes: int, catalog: Catalog) -> float:
    """Operations in all; ``total_bytes`` of the shipped set say how large the controls are."""
    base, count = spec.base_method, spec.num_images
    controls = _control_images(spec, total_bytes)
    own = catalog.method(base.name).facts.get("passes", GRADIENT_MATCHING)
    steps = sum(map(label_steps, spec.privileged))
    passes = _loop_passes(base.options, updates_of(base), count, own, spec)
    seen = count * _tiles(base.options)
    passes += sum(_label_passes(component, seen, spec) for component in spec.privileged)
    frequencies = _frequency_flops(base.options, updates_of(base), count, spec, catalog)
    for name, updates in (("equal_steps", steps), ("equal_bytes", updates_of(base))):
        if name in controls:
            passes += _loop_passes(base.options, updates, controls[name], own, spec)
            frequencies += _frequency_flops(base.options, updates, controls[name], spec, catalog)
    passes += TRAIN_PASSES * (_real_images_seen(spec) + _alignment_images_seen(spec))
    arms = [*_arm_images(spec), *_images_seen(controls, spec)]
    forward = _forward_flops(spec.network, spec, catalog)
    every = spec.evaluation.test_every
    tests = 1 + (spec.evaluation.epochs // every if every else 0)
    return forward * passes + frequencies + _evaluation_flops(spec, arms, catalog, tests)


def _loop_passes(
    options: dict[str, Any], updates: int, images: int, passes: dict[str, int], spec: JobSpec
) -> float:
    """Forward passes of real and synthetic images in updates, and of training between them."""
    if not updates:
        return 0.0
    real = _of_all_classes(int(options["real_batch"]), spec) * passes["real"]
    synthetic = images * passes["synthetic"] * _tiles(options)
    loops = int(options.get("outer_loops", 1))
    trainings = updates * (loops - 1) / loops * int(options.get("inner_epochs", 0))
    batches = int(options.get("networks_trained", 0)) * int(options.get("training_steps", 0))
    between = trainings * images + updates * batches * min(256, spec.dataset.num_train)
    watched = (updates + trainings) * _of_all_classes(int(options.get("watch_batch", 0)), spec)
    return updates * (real + synthetic) + between * TRAIN_PASSES + watched


def _label_passes(component: Component, images: int, spec: JobSpec) -> float:
    """Forward passes that learning labels for so many images costs; none if they are assigned."""
    options, updates = component.options, label_steps(component)
    if not updates:
        return 0.0
    if options["learning"] == "unrolled":
        return updates * _passes_of_windows(options, images)
    labels = int(options["labels_per_image"])
    if options["learning"] == "distribution_matching":
        return labels * spec.dataset.num_train
    each = {"real": TRAIN_PASSES, "synthetic": SECOND_ORDER_PASSES * labels}
    return _loop_passes(options, updates, images, each, spec)


def _passes_of_windows(options: dict[str, Any], images: int) -> int:
    """Forward passes of one update of labels through the training of students."""
    steps = int(options["unrolled_window"]) * min(images, 256) * SECOND_ORDER_PASSES
    judged = int(options["unrolled_real_images"]) * TRAIN_PASSES
    return WINDOWS_PER_UPDATE * (steps + judged)


def _of_all_classes(batch: int, spec: JobSpec) -> int:
    """Real images in one batch of each class, which may have fewer."""
    return sum(min(batch, available) for available in spec.dataset.train_per_class)


def _frequency_flops(
    options: dict[str, Any], updates: int, images: int, spec: JobSpec, catalog: Catalog
) -> float:
    """Characteristic functions at some frequencies, and the network that learns to choose them."""
    width = feature_values(spec.network, spec.dataset, catalog)
    if "frequencies" not in options or width is None:
        return 0.0
    learned = options["sampling"] == "learned"
    # A product of matrices costs two operations per entry pair, and as much for each derivative.
    real = _of_all_classes(int(options["real_batch"]), spec) * 2 * (1 + learned)
    synthetic = images * _tiles(options) * 2 * (2 + learned)
    layers = spec.dataset.num_classes * 2 * LAYERS_OF_FREQUENCY_NETWORK * width * TRAIN_PASSES
    per_update = int(options["frequencies"]) * width * (real + synthetic + layers * learned)
    return float(updates * per_update)


def _tiles(options: dict[str, Any]) -> int:
    """Images that students see for each stored one."""
    return int(options.get("partition", 1)) ** 2


def _real_images_seen(spec: JobSpec) -> int:
    """Images passed while training teachers, proxies and pools; equal plans are trained once."""
    plans = {*_plans(spec.base_method), *chain(*map(_teacher_plans, spec.privileged))}
    steps_per_epoch = -(-spec.dataset.num_train // 256)
    epochs = [max(plan.epochs, -(-plan.min_steps // steps_per_epoch)) for plan in plans]
    return sum(epochs) * spec.dataset.num_train


def _alignment_images_seen(spec: JobSpec) -> int:
    """Images passed forth and back by the students that gradient alignment follows."""
    if not (spec.evaluation.gradient_alignment and spec.privileged):
        return 0
    count = spec.num_images * _tiles(spec.base_method.options)
    epochs = min(spec.evaluation.epochs, ALIGNMENT_EPOCHS) + 1
    steps = epochs * -(-count // 256)
    looks = sum(step <= steps for step in ALIGNMENT_STEPS)
    # A look takes the gradients of the set without labels, with them, and of real images.
    look = 2 * count + min(ALIGNMENT_IMAGES, spec.dataset.num_train)
    return 2 * ALIGNMENT_STUDENTS * (epochs * count + looks * look)


class _Plan(NamedTuple):
    """What of a ``TrainingPlan`` tells the networks of one job apart."""

    epochs: int
    min_steps: int
    momentum: float = 0.9
    weight_decay: float = 5e-4
    member: int = 0
    of_pool: bool = False


def _plans(base: Component) -> Iterator[_Plan]:
    """Networks that a base method has trained on the real data."""
    options = base.options
    if "proxy_epochs" in options:
        yield _Plan(int(options["proxy_epochs"]), int(options.get("proxy_min_steps", 0)))
    for member in range(int(options.get("pool_networks", 0))):
        yield _Plan(int(options["pool_epochs"]), 0, member=member, of_pool=True)


def _teacher_plans(component: Component) -> Iterator[_Plan]:
    """Networks that a privileged type has trained on the real data."""
    options = component.options
    for member in (*teachers_of(component), *networks_matched_at(component)):
        yield _Plan(
            int(options["teacher_epochs"]),
            int(options.get("teacher_min_steps", 0)),
            options.get("teacher_momentum", 0.9),
            options.get("teacher_weight_decay", 5e-4),
            member,
        )


def _arm_images(spec: JobSpec) -> list[int]:
    """Images of every arm that is no control."""
    learned = any(map(label_steps, spec.privileged))
    tuned = any(map(tunes_images, spec.privileged))
    plain = 1 + bool(spec.privileged) + learned + tuned
    return [spec.num_images, *[spec.num_images * _tiles(spec.base_method.options)] * plain]


def _control_images(spec: JobSpec, total_bytes: int) -> dict[str, int]:
    """Stored images of every control that applies, as far as the spec alone can tell."""
    count, learned = spec.num_images, any(map(label_steps, spec.privileged))
    per_class = images_per_class_in(total_bytes, spec.dataset)
    replacing = all(component.name == "soft" for component in spec.privileged)
    applies = {
        "equal_bytes": per_class > spec.images_per_class,
        "equal_steps": learned and iterates(spec.base_method),
        "random_privileged": True,
        "permuted": not replacing and not chooses_freely(spec.base_method),
        "noise": learned,
    }
    found: dict[str, int] = {
        name: count
        for name in spec.evaluation.controls
        if name in APPLY_TO_ANY_SET or (spec.privileged and applies[name])
    }
    if "equal_bytes" in found:
        found["equal_bytes"] = per_class * spec.dataset.num_classes
    if "full" in found:
        own = spec.evaluation.epochs
        passes = (spec.evaluation.full_epochs or own) + 1
        # As many images as give the same work in the epochs of the others.
        found["full"] = spec.dataset.num_train * passes // (own + 1)
    return found


WHOLE = ("full", "random_other_view", "random_privileged")
"""Controls whose images are as they were in the dataset."""


def _images_seen(controls: Mapping[str, int], spec: JobSpec) -> list[int]:
    """Images that students of the controls see: real ones are whole, all others like the base's."""
    tiles = _tiles(spec.base_method.options)
    return [images if name in WHOLE else images * tiles for name, images in controls.items()]


def _evaluation_flops(
    spec: JobSpec, images: Sequence[int], catalog: Catalog, tests: int = 1
) -> float:
    """Students trained on sets of this many images each, and tested so many times."""
    passes = (spec.evaluation.epochs + 1) * TRAIN_PASSES
    seen = sum(images) * passes + len(images) * spec.dataset.num_test * tests
    forward = sum(_forward_flops(name, spec, catalog) for name in spec.evaluation.networks)
    return forward * seen * spec.evaluation.repeats


def _forward_flops(network: str, spec: JobSpec, catalog: Catalog) -> float:
    return float(_network_facts(network, spec, catalog).get("forward_flops", 1e8))


def _network_facts(network: str, spec: JobSpec, catalog: Catalog) -> dict[str, Any]:
    """Facts at this image size; at another size the cost grows with the area."""
    exact = facts_at_size(network, spec.dataset, catalog)
    by_size: dict[str, Any] = catalog.networks[network].facts.get("by_size", {})
    if exact or not by_size:
        return exact
    side = min(spec.dataset.height, spec.dataset.width)
    nearest = min(by_size, key=lambda size: abs(int(size) - side))
    area = spec.dataset.height * spec.dataset.width / int(nearest) ** 2
    return {"forward_flops": by_size[nearest]["forward_flops"] * area}
