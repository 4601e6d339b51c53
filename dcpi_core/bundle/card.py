"""The dataset card: ``README.md`` with the front matter that dataset hubs read."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from dcpi_core.bundle.markdown import indented, listing, plain
from dcpi_core.bundle.measured import measured_sections
from dcpi_core.registry import METHODS, PRIVILEGED_TYPES, Registry
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import UnknownName
from dcpi_core.spec.manifest import ComponentInfo, Manifest, Privileged
from dcpi_core.spec.protocols import Augmentation
from dcpi_core.spec.report import Report

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

_REDISTRIBUTION = {
    "yes": "The source's terms allow redistribution.",
    "no": "**The source's terms do not allow redistribution: do not publish this bundle.**",
    "unclear": "Whether the source may be redistributed is unclear: check before you publish.",
}

_KINDS = {
    "soft": "a probability for every class, which replaces the hard label in training",
    "feature": "the feature map that a block of the student should produce for the image",
    "attention_spatial": "where in the image a block's features should be strong",
    "attention_channel": "which features of a block should be strong",
}

_AUGMENTATIONS: dict[Augmentation, str] = {
    "none": "no augmentation",
    "flip_shift": "random flips and shifts",
    "dsa": "siamese augmentation (colour, crop, cutout, flip, scale, rotation)",
    "dsa_no_flip": "siamese augmentation without flips",
}


def render_card(manifest: Manifest, report: Report) -> str:
    """The text of ``README.md``."""
    sections = [
        _front_matter(manifest),
        f"# {plain(manifest.name)}",
        _summary(manifest),
        "![condensed images](previews/grid.png)",
        *measured_sections(manifest, report),
        "## Bytes\n\n" + _bytes(manifest),
        "## How to train on it\n\n" + _training(manifest),
        "## How it was made\n\n" + _making(manifest),
        "## Licence and citation\n\n" + _licence(manifest),
        "## Limits\n\n" + _limits(manifest, report),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(manifest: Manifest) -> str:
    count = manifest.budget.num_images
    size = next((name for limit, name in _SIZES if count < limit), "n>1M")
    license_ = manifest.source.license
    fields: dict[str, Any] = {
        "pretty_name": manifest.name,
        "license": "other",
        "license_name": license_.name,
        **({"license_link": license_.url} if license_.url else {}),
        "task_categories": ["image-classification"],
        "size_categories": [size],
        "source_datasets": [manifest.source.dataset],
        "tags": ["dataset-condensation", "privileged-information", manifest.method.base.name],
    }
    # JSON is valid YAML, and quoting everything leaves nothing to the imagination of a parser.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _summary(manifest: Manifest) -> str:
    budget, source = manifest.budget, manifest.source
    kind = "learned" if manifest.images.learned else "selected original"
    privileged = listing([part.type for part in manifest.privileged])
    tail = f", with {privileged} labels as privileged information" if privileged else ""
    return (
        f"{budget.num_images:,} {kind} images ({_per_class(manifest)} per class, "
        f"{100 * budget.effective_fraction:.3g} % of {source.num_train:,}) that stand for the "
        f"training set of {plain(source.title)}{tail}. A network trained on them alone should "
        "come as close as possible to one trained on everything."
    )


def _per_class(manifest: Manifest) -> str:
    """One number, unless the images were chosen whatever their class."""
    fewest, most = min(manifest.images.per_class), max(manifest.images.per_class)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"


def _bytes(manifest: Manifest) -> str:
    counts = manifest.budget.bytes
    parts = [("images", counts.images), ("hard labels", counts.labels)]
    parts += [(f"{name} labels", size) for name, size in sorted(counts.privileged.items())]
    parts.append(("**total**", counts.total))
    rows = "\n".join(
        f"| {name} | {size:,} | {size / manifest.budget.num_images:,.0f} |" for name, size in parts
    )
    return f"| part | bytes | per image |\n|---|---:|---:|\n{rows}"


def _training(manifest: Manifest) -> str:
    recipe, rate = manifest.recipe, manifest.recipe.optimizer
    augmentation = _AUGMENTATIONS[recipe.augmentation]
    name, published = manifest.source.dataset, _is_published(manifest)
    loader = f'load("{name}")' if published else 'load_prepared("the prepared archive")'
    return (
        "```python\n"
        "import dcpi_core as dcpi\n"
        f"from dcpi_core.datasets import {loader.partition('(')[0]}\n\n"
        'bundle = dcpi.load(".")        # checks every sha256; no pickle anywhere\n'
        f"network = bundle.fit(seed=0)   # a fresh {recipe.network.name}, the recipe below, "
        "every label used\n"
        f"print(bundle.evaluate(network, {loader}.test))\n"
        "```\n\n"
        f"{_alone(manifest)}\n\n"
        f"{'' if published else _own_images(manifest)}"
        f"The recipe: SGD, rate {rate.lr:g}, momentum {rate.momentum:g}, weight decay "
        f"{rate.weight_decay:g}, batch {recipe.batch_size}, {recipe.passes} passes; after pass "
        f"{recipe.schedule.after_epoch_index + 1} the rate is multiplied by "
        f"{recipe.schedule.factor:g} and the optimiser made anew; {augmentation}.\n\n"
        "Pixels: `images` in `data.safetensors` are float32 and already normalised; a test image "
        f"goes through `(pixel / 255 - mean) / std` with mean {_numbers(manifest, 'mean')} and std "
        f"{_numbers(manifest, 'std')}."
    )


def _is_published(manifest: Manifest) -> bool:
    """Whether everybody can get the source by its name, which somebody's own may share."""
    known = load_catalog().datasets.get(manifest.source.dataset)
    return known is not None and known.title == manifest.source.title


def _archive(manifest: Manifest) -> str:
    """The options that read somebody's own archive as it was read for this set."""
    height, width = manifest.recipe.network.image_size
    # Images that have this size already are left as they are.
    return "--archive FILE" + (f" --image-size {height}" if height == width else "")


def _own_images(manifest: Manifest) -> str:
    """What only whoever made the set can do, by the two ways that own images come in."""
    name, network = manifest.source.dataset, manifest.recipe.network
    height, width = network.image_size
    size = _archive(manifest).removeprefix("--archive FILE")
    return (
        "These images are no published dataset: whoever made the set has them, in a program or as "
        "an archive. In a program, `bundle.evaluate` takes the dataset's `.test`, and a test file "
        f"is an .npz with `images`, uint8 (n, {network.in_channels}, {height}, {width}), and "
        "`labels`, int64 (n,). The prepared archive, which is a test file, too, is made by "
        f"`python -m dcpi_core.datasets.archive inspect FILE --name {name}{size} --seed SEED "
        f"--out {name}.safetensors`. SEED is that of the upload, 0 if it gave none, and splits "
        "archives without a test folder; `dcpi` itself splits them by 0.\n\n"
    )


def _alone(manifest: Manifest) -> str:
    """How to train without DCPI, or why that cannot be done."""
    network, parts = manifest.recipe.network.name, manifest.privileged
    made_for = manifest.method.network
    if re.fullmatch(r"ConvNetD\d+", network) is None:
        return f"`train.py` builds no {network}: without DCPI, read `data.safetensors` yourself."
    if any(part.settings.get("contrast_weight") for part in parts):
        return "`train.py` does not know the contrast term of these labels: use `dcpi train`."
    if network != made_for and any(part.type != "soft" for part in parts):
        return (
            f"`train.py` does not align labels of a {made_for} with a {network}: use `dcpi train`."
        )
    given = manifest.source.dataset if _is_published(manifest) else _archive(manifest)
    return (
        "Without DCPI: `python train.py --test test.npz` needs torch, numpy and safetensors alone. "
        f"Make the test file with `dcpi test-data {given} --out test.npz`."
    )


def _numbers(manifest: Manifest, name: str) -> str:
    values: Sequence[float] = getattr(manifest.preprocess.normalize, name)
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _making(manifest: Manifest) -> str:
    method = manifest.method
    lines = [
        f"- base method {_component(method.base, METHODS)}",
        *(f"- privileged type {_component(part, PRIVILEGED_TYPES)}" for part in method.privileged),
        f"- network {method.network}, seed {method.seed}, dcpi {manifest.versions.dcpi}, "
        f"torch {manifest.versions.torch}",
        f"- spec sha256 `{manifest.spec_sha256}`",
        _again(manifest),
    ]
    return "\n".join([*lines, *_labels(manifest.privileged)])


def _again(manifest: Manifest) -> str:
    if _is_published(manifest):
        return "- `dcpi condense spec.json --out DIR` makes it again"
    return (
        f"- `dcpi condense spec.json {_archive(manifest)} --out DIR` makes it again from the "
        "archive; `dcpi.condense` does from a dataset in memory (`source` of its `Workplace`) or "
        "a prepared archive (`dataset_file`)"
    )


def _labels(parts: Iterable[Privileged]) -> list[str]:
    return [
        f"- `{tensor.name}` {tensor.dtype} {list(tensor.shape)}: "
        + _KINDS.get(part.type, f"{part.type} labels")
        for part in parts
        for tensor in part.tensors
    ]


def _component(part: ComponentInfo, registry: Registry[Any]) -> str:
    try:
        source = f" ({plain(registry.get(part.name).source)})"
    except UnknownName:
        source = ""
    return f"`{part.name}`{source} with {_options(part.options)}"


def _options(options: dict[str, Any]) -> str:
    if not options:
        return "no options"
    return ", ".join(f"`{key}` = {plain(json.dumps(value))}" for key, value in options.items())


def _licence(manifest: Manifest) -> str:
    source = manifest.source
    name = plain(source.license.name)
    link = f" ({source.license.url})" if source.license.url else ""
    text = f"Source: {plain(source.title)}, licence: {name}{link}. "
    text += _REDISTRIBUTION[source.license.redistributable]
    if not manifest.images.learned:
        text += " The images here are originals of the source, so its licence is theirs."
    if source.citation:
        # Indented, not fenced: no content can end an indented block early.
        text += "\n\nCite the source:\n\n" + indented(source.citation)
    return text


def _limits(manifest: Manifest, report: Report) -> str:
    lines = [
        f"- Measured with {listing(sorted({arm.network for arm in report.arms}))} only; other "
        "networks and other tasks may gain less.",
        "- Not for conclusions about the people or things pictured: condensation keeps what "
        "separates the classes and may amplify biases of the source.",
    ]
    if manifest.images.learned:
        lines.append(
            "- Learned images lie outside the displayable range "
            f"({manifest.images.value_range[0]:.2f} to {manifest.images.value_range[1]:.2f} in "
            "normalised units); the previews are clamped, so train on `data.safetensors`."
        )
    return "\n".join([*lines, *(f"- {plain(note)}" for note in report.notes)])
