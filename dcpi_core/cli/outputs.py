"""Where commands may write: into directories of their own, never over what somebody has there."""

from pathlib import Path

from dcpi_core.spec.errors import InvalidInput


def require_new(out: Path) -> None:
    """Raise InvalidInput unless there is nothing at ``out``, or an empty directory."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(f"{str(out)!r} exists already; with --out name a new or empty directory")


def require_own(out: Path) -> None:
    """Like ``require_new``, for a directory that is put in its place as a whole.

    Raises:
        InvalidInput: as said, or it is the directory in which the command runs.
    """
    require_new(out)
    if out.resolve() == Path.cwd().resolve():
        raise InvalidInput(
            f"{str(out)!r} is the current directory, which cannot be replaced; "
            "with --out name one in it"
        )
