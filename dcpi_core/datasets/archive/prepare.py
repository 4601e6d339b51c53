"""From an uploaded archive to a checked canonical file."""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dcpi_core.datasets.archive.decode import BrokenImage, decode
from dcpi_core.datasets.archive.layout import Layout, Preparation, arrange
from dcpi_core.datasets.archive.limits import DEFAULT_LIMITS, Limits
from dcpi_core.datasets.archive.members import Member, members
from dcpi_core.datasets.archive.place import Place
from dcpi_core.datasets.archive.refusal import Problems, quote, refuse
from dcpi_core.datasets.archive.survey import Contents, survey
from dcpi_core.datasets.canonical import CanonicalWriter
from dcpi_core.spec.base import Name
from dcpi_core.spec.dataset import DatasetFacts, License
from dcpi_core.spec.errors import FieldProblem, InvalidInput

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far and of all images."""

PROGRESS_EVERY = 500


def inspect_archive(  # noqa: PLR0913  the settings of one command, each with its default
    path: str | Path,
    name: str,
    out_path: str | Path,
    *,
    seed: int = 0,
    image_size: int | None = None,
    test_fraction: float = 0.2,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    place: Place | None = None,
) -> DatasetFacts:
    """Check the archive at ``path`` and write its images to ``out_path``.

    The archive is read twice: names and sizes first, pixels second. ``out_path`` appears only when
    everything is in order.

    Args:
        path: zip, tar, tar.gz, tar.xz or tar.bz2; see the package's docstring for what is inside.
        name: the dataset's name in the facts.
        out_path: the canonical file, read by ``datasets.load_prepared``.
        seed: chooses the test images of an archive that has no test/ folder.
        image_size: side of the square that every image is cropped and resized to.
        test_fraction: share of each class to hold out where there is no test/ folder.
        limits: what is refused as too large.
        progress: told now and then how far decoding is.
        place: told of every entry that is being read.

    Raises:
        ArchiveError: the archive cannot be used; names the entry and what is allowed.
        InvalidInput: one of the arguments is out of range.
    """
    path, out_path = Path(path), Path(out_path)
    how = _checked(name, {"seed": seed, "image_size": image_size, "test_fraction": test_fraction})
    with _quiet_decoders():
        contents = survey(path, limits, place)
        layout = arrange(contents, how, limits)
        draft = _draft(name, contents, layout, how)
        _check_decoded_bytes(draft, limits)
        with _replacing(out_path) as file:
            writer = CanonicalWriter(file, draft, layout.labels, how.model_dump())
            decoder = _Decoder(writer, layout, draft.channels, how.image_size)
            decoder.run(members(path, limits, place), progress or _ignore)
            return writer.finish()


class _Decoder:
    """Second pass over the archive: every image to its place."""

    def __init__(
        self, writer: CanonicalWriter, layout: Layout, channels: int, image_size: int | None
    ) -> None:
        self._writer = writer
        self._places = layout.places
        self._channels = channels
        self._image_size = image_size
        self._problems = Problems()

    def run(self, found: Iterable[Member], progress: Progress) -> None:
        done = 0
        for member in found:
            target = self._places.get(member.name)
            if target is None or member.data is None:
                continue
            self._store(member.name, member.data, *target)
            done += 1
            if done % PROGRESS_EVERY == 0:
                progress(done, len(self._places))
        self._problems.raise_any()
        assert done == len(self._places)
        progress(done, done)

    def _store(self, name: str, data: bytes, split: str, index: int) -> None:
        try:
            self._writer.put(split, index, decode(data, self._channels, self._image_size))
        except BrokenImage as error:
            self._problems.add(f"entry {quote(name)} {error}")


def _checked(name: str, settings: dict[str, object]) -> Preparation:
    """The settings as a record; a bad value is reported at its own field."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise InvalidInput.at("/name", f"name {name!r}: {error.errors()[0]['msg']}") from None
    try:
        return Preparation.model_validate(settings)
    except ValidationError as error:
        problems = [
            FieldProblem(f"/{found['loc'][0]}", InvalidInput.code, found["msg"])
            for found in error.errors()
        ]
        detail = "; ".join(f"{problem.pointer[1:]}: {problem.message}" for problem in problems)
        raise InvalidInput(detail, problems) from None


def _draft(name: str, contents: Contents, layout: Layout, how: Preparation) -> DatasetFacts:
    """The facts, of which mean, std and fingerprint are measured later."""
    side = how.image_size
    width, height = contents.only_size() if side is None else (side, side)
    channels: Literal[1, 3] = 1 if contents.grey else 3
    counts = np.bincount(layout.labels["train"], minlength=len(layout.classes))
    return DatasetFacts(
        name=name,
        title=name,
        classes=layout.classes,
        train_per_class=tuple(counts.tolist()),
        num_test=len(layout.labels["test"]),
        channels=channels,
        height=height,
        width=width,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        license=License(name="not stated (uploaded)"),
    )


def _check_decoded_bytes(draft: DatasetFacts, limits: Limits) -> None:
    size = (draft.num_train + draft.num_test) * draft.image_bytes
    if size > limits.decoded_bytes:
        raise refuse(
            f"the decoded images take {size} bytes, more than the {limits.decoded_bytes} allowed; "
            "give a smaller image_size"
        )


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path`` at the end, or vanishes on any error."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        temporary = Path(file.name)
        try:
            yield file
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Pillow warns of oddities in metadata that we do not use; sizes we check ourselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _ignore(done: int, total: int) -> None:
    """No one listens to progress."""
