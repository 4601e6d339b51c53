"""Reading a bundle: nothing is handed out before every digest, shape and value was checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dcpi_core.bundle.checks import Contents, require
from dcpi_core.bundle.source import open_source
from dcpi_core.bundle.tensors import from_tensors
from dcpi_core.compute import Runtime
from dcpi_core.condensed import CondensedSet
from dcpi_core.datasets.base import Split
from dcpi_core.networks import Network, build
from dcpi_core.rng import Streams
from dcpi_core.spec.errors import BundleError
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.manifest import Manifest
from dcpi_core.spec.report import Report
from dcpi_core.training import Recipe, fit, logits_on


@dataclass(frozen=True)
class Bundle:
    """A condensed dataset with everything that is known about it."""

    condensed: CondensedSet
    manifest: Manifest
    report: Report
    spec: JobSpec

    @property
    def recipe(self) -> Recipe:
        """The recipe of the report, as the training loop takes it."""
        recipe = self.manifest.recipe
        return Recipe(
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            learning_rate=recipe.optimizer.lr,
            momentum=recipe.optimizer.momentum,
            weight_decay=recipe.optimizer.weight_decay,
            augmentation=recipe.augmentation,
        )

    def build_network(self, name: str | None = None, seed: int = 0) -> Network:
        """A freshly initialised student, by default the one of the recipe."""
        recipe = self.manifest.recipe.network
        options = recipe.options if name in (None, recipe.name) else {}
        with Streams(seed).initialisation("student", name or recipe.name):
            return build(
                name or recipe.name,
                recipe.in_channels,
                recipe.num_classes,
                recipe.image_size,
                **options,
            )

    def fit(self, network: Network | None = None, seed: int = 0, device: str = "auto") -> Network:
        """Train ``network`` (default: a fresh student) by the recipe, with all labels.

        TF32 stays off in this process afterwards: see ``Runtime.choose``.
        """
        student = self.build_network(seed=seed) if network is None else network
        return fit(
            student,
            self.condensed,
            self.recipe,
            streams=Streams(seed),
            runtime=Runtime.choose(device),
        )

    def evaluate(self, network: Network, test: Split, device: str = "auto") -> float:
        """Share of the test images, in [0, 1], that ``network`` classifies correctly.

        TF32 stays off in this process afterwards: see ``Runtime.choose``.
        """
        runtime = Runtime.choose(device)
        logits = logits_on(network, test, self.spec.dataset, runtime)
        return float((logits.argmax(1) == test.labels).double().mean())


def load(path: str | Path) -> Bundle:
    """Read and check a bundle directory or zip.

    Raises:
        BundleError: a file is missing or altered, a shape or value is wrong, or the bundle is of
            a newer major version; the message names the file.
    """
    with open_source(path) as source:
        contents = Contents(source)
        require(contents)
        return Bundle(
            condensed=_restore(contents.manifest, contents.tensors),
            manifest=contents.manifest,
            report=contents.report,
            spec=contents.spec,
        )


def _restore(manifest: Manifest, tensors: Mapping[str, Tensor]) -> CondensedSet:
    settings: dict[str, Any] = {
        "partition": manifest.images.partition,
        "privileged": [
            {
                "kind": part.type,
                "tensors": [t.name.removeprefix(f"{part.type}.") for t in part.tensors],
                "settings": part.settings,
            }
            for part in manifest.privileged
        ],
    }
    try:
        return from_tensors(tensors, settings)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"privileged labels cannot be restored: {error!r}") from error
