"""From an archive to a dataset of a service: uploaded once, and found again afterwards."""

from pathlib import Path

from dcpi_core.client import Client
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import Conflict, NotFound


def uploaded(client: Client, archive: Path, facts: DatasetFacts, image_size: int | None) -> str:
    """The id of the dataset with these images and this name; uploads it unless it is there.

    Raises:
        Conflict: the service has other images of that name.
    """
    try:
        there = client.datasets.get(facts.name)
    except NotFound:
        return client.datasets.upload(archive, name=facts.name, image_size=image_size).id
    if there.facts is None:
        raise Conflict(
            f"this version cannot compare your images with the service's {facts.name!r}; to use "
            f"those, give --dataset {facts.name} without --archive"
        )
    if not _is_the_same(there.facts, facts):
        raise Conflict(
            f"the service has other images by the name of {facts.name!r}: call yours otherwise "
            f"with --dataset NAME, or use those with --dataset {facts.name} and without --archive"
        )
    return there.id


def _is_the_same(there: DatasetFacts, here: DatasetFacts) -> bool:
    return (there.fingerprint, there.classes) == (here.fingerprint, here.classes)
