"""How much an archive may hold, and the meter that watches what is actually read."""

from dataclasses import dataclass

from dcpi_core.datasets.archive.place import Place
from dcpi_core.datasets.archive.refusal import refuse
from dcpi_core.spec.errors import ArchiveError


@dataclass(frozen=True)
class Limits:
    """Upper bounds; whatever exceeds one is refused.

    Attributes:
        entries: files and folders in the archive.
        total_bytes: bytes that come out of decompression, tar headers included.
        file_bytes: bytes of one file.
        ratio: decompressed bytes for each byte of the archive.
        ratio_from_bytes: decompressed bytes up to which any ratio is fine; a handful of flat icons
            compresses far better than photographs and endangers nobody.
        pixels: width times height of one image.
        decoded_bytes: bytes of all images as they will be stored, one per pixel and channel.
        classes: class folders.
        class_name_bytes: bytes of the names of all classes, which go into every job on the dataset;
            those of the 22,000 of ImageNet-21k take 200 kB as numbers and well under 1 MB as words.
    """

    entries: int = 2_000_000
    total_bytes: int = 8 << 30
    file_bytes: int = 64 << 20
    ratio: int = 200
    ratio_from_bytes: int = 16 << 20
    pixels: int = 25_000_000
    decoded_bytes: int = 16 << 30
    classes: int = 100_000
    class_name_bytes: int = 1 << 20


DEFAULT_LIMITS = Limits()


class Meter:
    """Counts entries and decompressed bytes of one pass over an archive."""

    def __init__(self, limits: Limits, archive_bytes: int, place: Place) -> None:
        self._limits = limits
        self._place = place
        self._entries = 0
        self._bytes = 0
        self._ratio_bytes = max(limits.ratio_from_bytes, limits.ratio * archive_bytes)

    def enter(self, name: str) -> None:
        """Count one file or folder."""
        self._place.enter(name)
        self._entries += 1
        if self._entries > self._limits.entries:
            raise self.beyond(f"the archive has more than {self._limits.entries} entries")

    def leave(self) -> None:
        """The entry has been read."""
        self._place.leave()

    def add_bytes(self, count: int) -> None:
        """Count bytes that came out of decompression."""
        self._bytes += count
        if self._bytes > self._limits.total_bytes:
            raise self.beyond(
                f"the archive unpacks to more than {self._limits.total_bytes} bytes, "
                "the largest allowed"
            )
        if self._bytes > self._ratio_bytes:
            raise self.beyond(
                f"the archive unpacks to more than {self._limits.ratio} times its own size, "
                "the largest ratio allowed"
            )

    def beyond(self, message: str) -> ArchiveError:
        """The refusal of what has been read up to here."""
        return refuse(f"{message}; reached {self._place}")
