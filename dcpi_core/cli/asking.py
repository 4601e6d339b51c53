"""What the user asks for, from a JSON file, from options, or from both. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import FieldProblem, InvalidInput
from dcpi_core.spec.job import FORMAT, NO_PRIVILEGED, JobRequest, JobSpec, JobSubmission
from dcpi_core.spec.resolve import resolve

M = TypeVar("M", bound=BaseModel)

SpecFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SPEC.json]",
        help="a job request (options override its fields), or a bundle's spec.json (run unchanged)",
        show_default=False,
    ),
]
DatasetName = Annotated[
    str | None, typer.Option("--dataset", help="name of the dataset", show_default=False)
]
FractionText = Annotated[
    str | None,
    typer.Option("--fraction", help="images to keep: 0.002 or 0.2%", show_default=False),
]
PerClass = Annotated[
    int | None,
    typer.Option("--images-per-class", help="instead of --fraction", show_default=False),
]
MethodName = Annotated[
    str | None,
    typer.Option("--base-method", "--method", help="see `dcpi list`", show_default=False),
]
PiNames = Annotated[
    list[str] | None,
    typer.Option(
        "--pi-type",
        "--pi",
        help="type of privileged information, see `dcpi list`; default: none; may be repeated",
        show_default=False,
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option("--network", help="network used for condensing", show_default=False),
]
SeedNumber = Annotated[int | None, typer.Option("--seed", help="default: 0", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="an option, e.g. base.iterations=100, pi.feature.task_weight=0, "
        "evaluation.repeats=5; may be repeated",
        show_default=False,
    ),
]
ArchiveFile = Annotated[
    Path | None,
    typer.Option(
        "--archive",
        help="your own images: an archive of class folders",
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size", help="crop and resize the archive's images to this", show_default=False
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="where published datasets lie", show_default=False),
]
REQUIRED = {"dataset": "--dataset", "base_method": "--base-method"}
"""Options without a default, by field; the budget has an error of its own."""
CACHE = Path.home() / ".cache" / "dcpi"
Cache = Annotated[
    Path,
    typer.Option(
        "--cache",
        help="for trained teachers, at most 20 GiB, and prepared archives",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON and nothing else")]


@dataclass(frozen=True)
class Asked:
    """The options that describe a job, as given."""

    file: Path | None
    dataset: str | None = None
    fraction: str | None = None
    images_per_class: int | None = None
    method: str | None = None
    pi: Sequence[str] | None = None
    network: str | None = None
    seed: int | None = None
    settings: Sequence[str] | None = None

    def fields(self) -> dict[str, Any]:
        """The top-level fields of a request that were given."""
        pi = self.pi[0] if self.pi and len(self.pi) == 1 else self.pi
        given = {
            "dataset": self.dataset,
            "fraction": self.fraction,
            "images_per_class": self.images_per_class,
            "base_method": self.method,
            "pi_type": pi or None,
            "seed": self.seed,
        }
        return {key: value for key, value in given.items() if value is not None}


def read_spec(asked: Asked, facts: DatasetFacts | None = None) -> JobSpec:
    """The resolved job.

    Args:
        asked: the user's options.
        facts: of the uploaded dataset; by default those the catalogue has for the name.

    Raises:
        InvalidInput: something is missing, unknown or contradictory.
    """
    body = _read_file(asked.file) if asked.file else {}
    if body.get("format") == FORMAT:
        return _finished_spec(body, asked)
    request = _validated(JobRequest, _merged(body, asked, facts.name if facts else None))
    return resolve(request, facts)


def read_submission(
    asked: Asked, dataset: str | None = None, treatment: Mapping[str, Any] | None = None
) -> JobSubmission:
    """The job for a service.

    Args:
        asked: the user's options.
        dataset: the id of an upload, if there was one.
        treatment: fields of a JobSubmission that say how the service treats the job.

    Raises:
        InvalidInput: something is missing, unknown or contradictory.
    """
    body = _read_file(asked.file) if asked.file else {}
    if body.get("format") == FORMAT:
        body = _as_request(_finished_spec(body, asked))
    given = {key: value for key, value in (treatment or {}).items() if value is not None}
    return _validated(JobSubmission, _merged(body | given, asked, dataset))


def is_about_upload(asked: Asked) -> bool:
    """Whether the dataset is named by the id that a service gave it."""
    body = _read_file(asked.file) if asked.file else {}
    return str(asked.dataset or body.get("dataset", "")).startswith("ds_")


def _merged(body: dict[str, Any], asked: Asked, dataset: str | None) -> dict[str, Any]:
    given = asked.fields()
    if "fraction" in given or "images_per_class" in given:
        # One kind of budget on the command line replaces the other kind in the file.
        body = {k: v for k, v in body.items() if k not in ("fraction", "images_per_class")}
    merged = {"pi_type": NO_PRIVILEGED} | body | given
    if dataset is not None:
        merged["dataset"] = dataset
    options = dict(merged.get("options") or {})
    if asked.network is not None:
        options["network"] = asked.network
    for setting in asked.settings or ():
        _apply(setting, options)
    return merged | {"options": options}


def _apply(setting: str, options: dict[str, Any]) -> None:
    name, equals, text = setting.partition("=")
    *path, last = name.split(".")
    if not equals or not path or not last:
        raise InvalidInput(f"--set {setting!r} is not of the form base.iterations=100")
    place = options
    for key in path:
        if not isinstance(place.get(key) or {}, Mapping):
            raise InvalidInput(
                f"--set {setting!r}: {key} is {place[key]!r} already and has nothing below it"
            )
        place[key] = dict(place.get(key) or {})
        place = place[key]
    try:
        place[last] = json.loads(text)
    except ValueError:
        place[last] = text


def _read_file(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInput(f"{str(path)!r} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidInput(f"{str(path)!r} does not hold a JSON object")
    return body


def _finished_spec(body: dict[str, Any], asked: Asked) -> JobSpec:
    if asked.fields() or asked.network or asked.settings:
        raise InvalidInput(f"{str(asked.file)!r} is a resolved spec and leaves nothing to options")
    return _validated(JobSpec, body)


def _as_request(spec: JobSpec) -> dict[str, Any]:
    return {
        "dataset": spec.dataset.name,
        "images_per_class": spec.images_per_class,
        "base_method": spec.base_method.name,
        "pi_type": [part.name for part in spec.privileged] or NO_PRIVILEGED,
        "seed": spec.seed,
        "options": {
            "network": spec.network,
            "base": spec.base_method.options,
            "pi": {part.name: part.options for part in spec.privileged},
            "evaluation": spec.evaluation.model_dump(mode="json"),
        },
    }


def _validated(model: type[M], data: dict[str, Any]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [
            FieldProblem(
                "".join(f"/{part}" for part in problem["loc"]), problem["type"], problem["msg"]
            )
            for problem in error.errors(include_url=False)
        ]
        raise InvalidInput("; ".join(map(_told, problems)), problems) from None


def _told(problem: FieldProblem) -> str:
    field = problem.pointer.lstrip("/")
    if problem.code == "missing" and field in REQUIRED:
        return f"{REQUIRED[field]} is missing"
    return f"{field}: {problem.message}"
