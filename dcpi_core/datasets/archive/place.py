"""Where in an archive the reading is, so that whatever ends it can be said of an entry."""

import os
from pathlib import Path

from dcpi_core.datasets.archive.refusal import quote

FILE_BYTES = 1024
"""Room for the longest description; the file never changes its size."""


class Place:
    """The entry that is being read, and its name in a file for whoever survives this process.

    A decoder that crashes, or that the kernel ends, takes its whole process along; the parent then
    reads the file, which holds what ``str`` gives, padded with spaces.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._entry = ""
        self._text = "before its first entry"
        self._file = None if file is None else os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)
        self._write()

    def enter(self, name: str) -> None:
        """The entry of this name is read from here on."""
        self._entry = quote(name)
        self._text = f"at entry {self._entry}"
        self._write()

    def leave(self) -> None:
        """It has been read; what follows has no name yet."""
        self._text = f"after entry {self._entry}"
        self._write()

    def __str__(self) -> str:
        return self._text

    def _write(self) -> None:
        if self._file is not None:
            os.pwrite(self._file, self._text.encode().ljust(FILE_BYTES), 0)
