"""What a user asks for (``JobRequest``) and what is run (``JobSpec``: every default resolved)."""

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from dcpi_core.spec.base import Name, Options, Record, Seed
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.protocols import Protocol

FORMAT: Final = "dcpi-job/1"
NO_PRIVILEGED = "none"
MAX_DEADLINE_SECONDS: Final = 30 * 24 * 3600

Control = Literal[
    "equal_bytes",
    "equal_steps",
    "random_privileged",
    "permuted",
    "noise",
    "full",
    "other_view",
    "random_other_view",
]
"""A comparison that a sceptic would ask for; docs/protocols.md describes each."""

Ratio = Annotated[float, Field(strict=True)]
"""A number, not true or false."""

Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


def _says_nothing(value: object) -> bool:
    """Whether a field may be left out of a spec, whose digest is then that of older specs."""
    return not value


class EvaluationOptions(Options):
    """How the result is measured.

    ``dc`` is the protocol of Zhao et al. (2021): SGD 0.01, momentum 0.9, weight decay 5e-4, batch
    256, learning rate divided by ten after half the epochs, no augmentation, last-epoch accuracy.
    ``dc_flip_shift`` is the same with random flips and shifts, ours: not for mirrored letters.
    ``dsa`` is that of Zhao and Bilen (2021): as ``dc``, with their augmentation and 1000 epochs.
    """

    protocol: Protocol = Field("dc", description="training protocol, see docs/protocols.md")
    networks: tuple[Name, ...] = Field(
        (), max_length=8, description="students; empty: the network used for condensing"
    )
    repeats: int = Field(3, ge=1, le=20, description="students per arm, each with its own seed")
    epochs: int | None = Field(
        None,
        ge=1,
        le=5000,
        description="epochs on the condensed set; default: the protocol's, 1000 for dsa, else 300",
    )
    controls: tuple[Control, ...] = Field(
        ("equal_bytes",),
        max_length=16,
        description="further training sets to compare with. equal_bytes: the base method with as "
        "many images as fit in the bytes of the shipped set; equal_steps: the base method with as "
        "many further steps as the labels got; random_privileged: random images with assigned "
        "labels; permuted: labels exchanged between classes; noise: assigned labels moved at "
        "random as far as learning moved them; full: all training images; other_view and "
        "random_other_view: the shipped set and random images, augmented if the protocol does not "
        "augment, and as they are if it does. One that does not apply is left out with a note",
    )
    full_epochs: int | None = Field(
        None,
        ge=1,
        le=5000,
        description="epochs of the control full; default: as many as on the condensed set",
        exclude_if=_says_nothing,
    )
    test_every: int = Field(
        0,
        ge=0,
        le=5000,
        description="also test each student after every so many epochs and tell its best accuracy, "
        "as some publications do, beside that after the last epoch; 0: no",
        exclude_if=_says_nothing,
    )
    gradient_alignment: bool = Field(
        False,
        description="also compare gradients on the set, with and without its labels, with those "
        "on real images along a training: four trainings of at most 100 epochs",
    )


class RequestOptions(Record):
    """Everything optional, by component."""

    network: Name | None = Field(
        None, description="network used for condensing; default: ConvNet of the right depth"
    )
    base: dict[str, Any] = Field(
        default_factory=dict, description="options of the base method, see /v1/methods"
    )
    pi: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="options by privileged type, see /v1/privileged-types",
    )
    evaluation: EvaluationOptions = Field(default_factory=EvaluationOptions)


class JobRequest(Record):
    """What is to be condensed and how; four words are enough."""

    dataset: Name = Field(description="a name from /v1/datasets, or the id of an upload")
    fraction: Ratio | str | None = Field(
        None, description='ratio of training images to keep, in (0, 1]; "0.2%" is accepted'
    )
    images_per_class: int | None = Field(None, description="instead of fraction")
    base_method: Name = Field(description="a name from /v1/methods")
    pi_type: Name | tuple[Name, ...] = Field(
        description="a name from /v1/privileged-types, several of them, or none"
    )
    seed: Seed = 0
    name: Text | None = Field(None, description="your own title for the job")
    metadata: dict[Text, Text] = Field(default_factory=dict, max_length=16)
    options: RequestOptions = Field(default_factory=RequestOptions)


Priority = Literal["low", "normal", "high"]
CachePolicy = Literal["reuse", "ignore"]


class JobSubmission(JobRequest):
    """A job for a service: what is asked for, and how the service should treat it.

    Nothing here changes the data that come out.
    """

    deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MAX_DEADLINE_SECONDS,
        description="counted from the submission; a job that is not done by then is expired",
    )
    priority: Priority = Field(
        "normal", description="order among your own queued jobs; other tenants take their turns"
    )
    cache: CachePolicy = Field(
        "reuse",
        description="reuse: the result of an earlier job with the same resolved spec, computed by "
        "the same code, is the answer at once; ignore: compute again",
    )


class Component(Record):
    """A registered component with all its options."""

    name: Name
    options: dict[str, Any]


class EvaluationSpec(Record):
    """``EvaluationOptions`` with the students filled in, each control once, in one order.

    A spec written before there were controls asks for none.
    """

    protocol: Protocol
    networks: tuple[Name, ...]
    repeats: int
    epochs: int
    controls: tuple[Control, ...] = ()
    gradient_alignment: bool = False
    full_epochs: int | None = Field(None, exclude_if=_says_nothing)
    test_every: int = Field(0, exclude_if=_says_nothing)


class JobSpec(Record):
    """A job that leaves nothing open: the same spec gives the same bundle."""

    format: Literal["dcpi-job/1"] = FORMAT
    dataset: DatasetFacts
    images_per_class: int
    base_method: Component
    privileged: tuple[Component, ...]
    network: Name
    evaluation: EvaluationSpec
    seed: Seed

    @property
    def num_images(self) -> int:
        return self.images_per_class * self.dataset.num_classes

    @property
    def effective_fraction(self) -> float:
        return self.num_images / self.dataset.num_train

    def digest(self) -> str:
        """sha256 of the canonical JSON: identical specs have identical digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
