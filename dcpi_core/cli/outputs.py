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


def require_place(file: Path) -> None:
    """Raise InvalidInput if the directory is missing in which ``file`` is to be written."""
    if not file.parent.is_dir():
        raise InvalidInput(f"there is no directory {str(file.parent)!r} for {file.name!r}")


def require_workspace(directory: Path) -> None:
    """Raise InvalidInput if ``directory`` holds anything but what an interrupted job leaves.

    It goes with all that is in it once the job is done.
    """
    from dcpi_core.pipeline import BUNDLE, CHECKPOINT

    if not directory.exists():
        return
    if not directory.is_dir():
        raise InvalidInput(f"{str(directory)!r}, where the job would work, is no directory")
    ours = (CHECKPOINT, BUNDLE) if (directory / CHECKPOINT).is_file() else ()
    for path in directory.iterdir():
        # A process that is killed while it writes a checkpoint leaves the last kind.
        if path.name not in ours and not path.match(f".{CHECKPOINT}.*.tmp"):
            raise InvalidInput(
                f"{str(directory)!r}, where the job would work, holds {path.name!r}, which no "
                "earlier run left there; move it, or name another directory with --out"
            )
