"""What a job will make, from its spec alone: sizes of controls, steps, networks. No torch."""

from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.job import Component, Control

HARD_LABEL_BYTES = 8
STORED_PIXEL_BYTES = 4

WINDOWS_PER_UPDATE = 2
"""Students in training whose windows make one update of unrolled labels: fixed, so that a result
does not depend on the number of threads."""

TRAINED_NETWORKS = 4
"""How many other teachers labels are matched at, in turn."""

ALIGNMENT_STUDENTS = 2
"""Students that gradient alignment follows on the shipped set, and as many on the bare images."""

ALIGNMENT_EPOCHS = 100
"""Of their training, at most."""

ALIGNMENT_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000)
"""When a student is looked at."""

ALIGNMENT_IMAGES = 1024
"""Real images whose gradient the others are compared with."""

APPLY_TO_ANY_SET: frozenset[Control] = frozenset({"full", "other_view", "random_other_view"})
"""Controls that ask nothing about labels, so that a set without any can have them."""


def image_bytes(facts: DatasetFacts) -> int:
    """Bytes of one image with its hard label, as a bundle stores them: float32 and int64."""
    return STORED_PIXEL_BYTES * facts.image_bytes + HARD_LABEL_BYTES


def images_per_class_in(total_bytes: int, facts: DatasetFacts) -> int:
    """Images per class that fit in ``total_bytes``; at most the smallest class has."""
    fitting = total_bytes // (image_bytes(facts) * facts.num_classes)
    return min(fitting, *facts.train_per_class)


def iterates(method: Component) -> bool:
    """Whether a base method can go on after its last step; coreset rules have no further steps.

    Such a method has the option ``iterations``, see ``Method.step``.
    """
    return "iterations" in method.options


def updates_of(component: Component) -> int:
    """Updates of a loop of ``iterations`` times ``outer_loops``; 0 without such a loop."""
    options = component.options
    return int(options.get("iterations", 0)) * int(options.get("outer_loops", 1))


def label_steps(component: Component) -> int:
    """Steps by which a privileged type learns its labels; 0 if it assigns them."""
    options = component.options
    learning = options.get("learning")
    if learning == "distribution_matching":
        return 1
    if learning == "unrolled":
        return int(options["unrolled_updates"])
    return updates_of(component) if learning == "gradient_matching" else 0


def teachers_of(component: Component) -> range:
    """Numbers of the teachers that a privileged type's labels come from; none if they are noise."""
    options = component.options
    needed = options.get("learning") == "distribution_matching"
    if options.get("label_init") == "noise" and not needed:
        return range(0)
    return range(int(options.get("labels_per_image", 1)))


def networks_matched_at(component: Component) -> range:
    """Numbers of the further teachers at which labels are matched; none if networks are fresh."""
    options = component.options
    matched = options.get("learning") == "gradient_matching"
    if not matched or options.get("label_networks") != "trained":
        return range(0)
    first = int(options["labels_per_image"])
    return range(first, first + TRAINED_NETWORKS)
