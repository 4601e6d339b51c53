"""``python -m dcpi_core.datasets.archive inspect``: one archive, read in a process of its own.

Prints one line of JSON: ``{"facts": {...}}`` with exit status 0, or ``{"error": {"code", "detail",
"problems": [{"pointer", "code", "message"}]}}`` with status 2 when the archive or an argument is at
fault, 3 when the program is. A traceback of the latter goes to standard error. Whoever reads this
should also expect an end by a signal, from a decoder that crashes or from the kernel: the file that
``--place`` names then says at which entry.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from dcpi_core.datasets.archive.place import Place
from dcpi_core.datasets.archive.prepare import inspect_archive
from dcpi_core.datasets.archive.refusal import refuse
from dcpi_core.datasets.archive.sandbox import OutOfTime, restrict
from dcpi_core.spec.errors import DcpiError, InvalidInput

REFUSED, BROKEN = 2, 3


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as any other refusal."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        answer, status = {"facts": _inspect(argv)}, 0
    except InvalidInput as error:
        answer, status = {"error": _failure(error)}, REFUSED
    except Exception as error:  # noqa: BLE001  the parent waits for JSON whatever happens
        traceback.print_exc()
        detail = f"the archive could not be read: {type(error).__name__}: {error}"
        answer, status = {"error": _failure(DcpiError(detail))}, BROKEN
    sys.stdout.write(json.dumps(answer) + "\n")
    return status


def _inspect(argv: Sequence[str] | None) -> dict[str, Any]:
    arguments = _parser().parse_args(argv)
    place = Place(arguments.place)
    restrict(arguments.max_memory_mb, arguments.max_seconds)
    try:
        facts = inspect_archive(
            arguments.archive,
            arguments.name,
            arguments.out,
            seed=arguments.seed,
            image_size=arguments.image_size,
            test_fraction=arguments.test_fraction,
            place=place,
        )
    except MemoryError:
        most = f"{arguments.max_memory_mb} MB"
        raise refuse(f"reading the archive takes more than the {most} allowed, {place}") from None
    except OutOfTime:
        most = f"{arguments.max_seconds} s"
        raise refuse(f"reading the archive takes more than the {most} allowed, {place}") from None
    return facts.model_dump(mode="json")


def _failure(error: DcpiError) -> dict[str, Any]:
    problems = [asdict(problem) for problem in error.problems]
    return {"code": error.code, "detail": error.detail, "problems": problems}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m dcpi_core.datasets.archive", description=__doc__)
    commands = parser.add_subparsers(required=True)
    inspect = commands.add_parser("inspect", help="check an archive and write its canonical file")
    inspect.add_argument("archive", type=Path)
    inspect.add_argument("--name", required=True)
    inspect.add_argument("--out", type=Path, required=True)
    inspect.add_argument("--seed", type=int, default=0)
    inspect.add_argument("--image-size", type=int)
    inspect.add_argument("--test-fraction", type=float, default=0.2)
    inspect.add_argument("--max-memory-mb", type=int, default=2048)
    inspect.add_argument("--max-seconds", type=int, default=3600)
    inspect.add_argument("--place", type=Path, help="a file that names the entry being read")
    return parser


if __name__ == "__main__":
    sys.exit(main())
