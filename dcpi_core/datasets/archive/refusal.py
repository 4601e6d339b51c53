"""How an archive is refused: always about the uploaded file, always naming the entry."""

from dcpi_core.spec.errors import ArchiveError, FieldProblem

POINTER = "/file"
MOST_PROBLEMS = 20
LONGEST_NAME = 200


def refuse(message: str) -> ArchiveError:
    """The error for a single problem."""
    return ArchiveError(message, [FieldProblem(POINTER, ArchiveError.code, message)])


def quote(name: str) -> str:
    """An entry's name as it may be shown: on one line, printable, not too long."""
    shown = ascii(name) if not name.isprintable() else repr(name)
    return shown if len(shown) <= LONGEST_NAME else shown[:LONGEST_NAME] + "...'"


class Problems:
    """Collects problems of single images, so that a user can mend them in one go."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, message: str) -> None:
        """Note a problem.

        Raises:
            ArchiveError: there are so many that reading on would tell nothing new.
        """
        self._messages.append(message)
        if len(self._messages) >= MOST_PROBLEMS:
            self.raise_any()

    def raise_any(self) -> None:
        """Raise an ArchiveError with all problems, if there are any."""
        if not self._messages:
            return
        detail = self._messages[0]
        more = len(self._messages) - 1
        if more:
            at_least = "at least " if len(self._messages) >= MOST_PROBLEMS else ""
            detail = f"{detail} (and {at_least}{more} more such problems)"
        raise ArchiveError(
            detail, [FieldProblem(POINTER, ArchiveError.code, text) for text in self._messages]
        )
