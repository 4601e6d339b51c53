"""Protocols by name: what students are shown and for how long. ``docs/protocols.md`` says more."""

from typing import Literal

Protocol = Literal["dc", "dc_flip_shift", "dsa"]

Augmentation = Literal["none", "flip_shift", "dsa", "dsa_no_flip"]

NEVER_MIRRORED = frozenset({"digits", "mnist", "svhn"})
"""Datasets whose mirror images mean something else; the published DSA does not flip them."""

_AUGMENTATIONS: dict[Protocol, Augmentation] = {
    "dc": "none",
    "dc_flip_shift": "flip_shift",
    "dsa": "dsa",
}

_EPOCHS: dict[Protocol, int] = {"dc": 300, "dc_flip_shift": 300, "dsa": 1000}


def augmentation_of(protocol: Protocol, dataset: str) -> Augmentation:
    """What a protocol does to the training images of the dataset of this name."""
    if protocol == "dsa" and dataset in NEVER_MIRRORED:
        return "dsa_no_flip"
    return _AUGMENTATIONS[protocol]


def other_view_of(protocol: Protocol, dataset: str) -> Augmentation:
    """The augmentation that a set is also judged under: none, or that of DSA beside none."""
    if _AUGMENTATIONS[protocol] == "none":
        return augmentation_of("dsa", dataset)
    return "none"


def default_epochs(protocol: Protocol) -> int:
    """Epochs of a protocol, as published, unless a job asks for another number."""
    return _EPOCHS[protocol]
