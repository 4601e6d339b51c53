"""First pass over an archive: what is in it, and of which sizes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dcpi_core.datasets.archive import names
from dcpi_core.datasets.archive.decode import BrokenImage, Header, read_header
from dcpi_core.datasets.archive.limits import Limits
from dcpi_core.datasets.archive.members import Member, members
from dcpi_core.datasets.archive.names import Parts
from dcpi_core.datasets.archive.place import Place
from dcpi_core.datasets.archive.refusal import Problems, quote, refuse

Size = tuple[int, int]
MOST_SIZES_SHOWN = 5


@dataclass
class Contents:
    """The entries of an archive by what they are for.

    Attributes:
        images: names of all images.
        folders: folders that have an entry of their own, empty ones among them.
        texts: notes to people, wherever they lie.
        sizes: images of each (width, height); ``examples`` names one of each.
        grey: whether all images are.
    """

    images: set[str] = field(default_factory=set)
    folders: set[Parts] = field(default_factory=set)
    texts: list[Parts] = field(default_factory=list)
    sizes: Counter[Size] = field(default_factory=Counter)
    examples: dict[Size, str] = field(default_factory=dict)
    grey: bool = True

    def add_image(self, name: str, header: Header) -> None:
        """Note an image whose header could be read."""
        size = (header.width, header.height)
        self.sizes[size] += 1
        self.examples.setdefault(size, name)
        self.grey = self.grey and header.grey

    def only_size(self) -> Size:
        """The (width, height) of every image.

        Raises:
            ArchiveError: they differ.
        """
        if len(self.sizes) == 1:
            return next(iter(self.sizes))
        common = self.sizes.most_common(MOST_SIZES_SHOWN)
        shown = ", ".join(
            f"{w} x {h} ({count}, such as {quote(self.examples[w, h])})" for (w, h), count in common
        )
        more = len(self.sizes) - len(common)
        raise refuse(
            f"the images have {len(self.sizes)} different sizes: {shown}"
            + (f" and {more} more" if more else "")
            + "; give image_size to crop and resize them all to one square"
        )


def survey(path: Path, limits: Limits, place: Place | None = None) -> Contents:
    """Read every entry and the header of every image.

    Raises:
        ArchiveError: as ``members``; or a name comes twice, a file is no image, or an image's
            header cannot be read.
    """
    contents = Contents()
    problems = Problems()
    for member in members(path, limits, place):
        if names.is_leftover(member.parts):
            continue
        if member.data is None:
            contents.folders.add(member.parts)
        elif names.is_image(member.parts):
            _add_image(contents, member, limits, problems)
        elif names.is_text(member.parts):
            contents.texts.append(member.parts)
        else:
            raise _unknown_file(member.name)
    problems.raise_any()
    return contents


def _add_image(contents: Contents, member: Member, limits: Limits, problems: Problems) -> None:
    if member.name in contents.images:
        raise refuse(f"entry {quote(member.name)} comes twice; every name must be unique")
    contents.images.add(member.name)
    assert member.data is not None
    try:
        contents.add_image(member.name, read_header(member.data, limits.pixels))
    except BrokenImage as error:
        problems.add(f"entry {quote(member.name)} {error}")


def _unknown_file(name: str) -> Exception:
    return refuse(
        f"entry {quote(name)} is not an image; allowed are {', '.join(names.IMAGE_SUFFIXES)} in "
        "class folders, and .txt, .md, README and LICENSE at the top"
    )
