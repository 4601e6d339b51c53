"""The jobs of a campaign: small, real, each with a seed of its own."""

from typing import Any

from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.job import JobSpec, JobSubmission
from dcpi_core.spec.resolve import resolve

_EVALUATION = {"repeats": 1, "epochs": 2, "controls": []}
_TEACHER = {"teacher_epochs": 1, "teacher_min_steps": 0}
_PROXY = {"proxy_epochs": 1, "proxy_min_steps": 0}
_DC = {"iterations": 2, "real_batch": 20}

_KINDS: tuple[dict[str, Any], ...] = (
    {"base_method": "random", "pi_type": "soft", "base": {}},
    {"base_method": "herding", "pi_type": "feature", "base": _PROXY},
    {"base_method": "dc", "pi_type": "none", "base": _DC},
    {"base_method": "herding", "pi_type": "soft", "base": _PROXY},
    {"base_method": "dc", "pi_type": "feature", "base": _DC},
)


def request(seed: int, number: int) -> dict[str, Any]:
    """The body that submits job ``number`` of the campaign with this seed."""
    kind = _KINDS[number % len(_KINDS)]
    labels = {} if kind["pi_type"] == "none" else {kind["pi_type"]: _TEACHER}
    return {
        "cache": "ignore",
        "dataset": "digits",
        "images_per_class": 1 + number % 2,
        "base_method": kind["base_method"],
        "pi_type": kind["pi_type"],
        "seed": seed * 10_000 + number,
        "options": {"base": kind["base"], "pi": labels, "evaluation": _EVALUATION},
    }


def spec_of(body: dict[str, Any]) -> JobSpec:
    """What the service makes of the body."""
    facts = load_catalog().datasets["digits"]
    return resolve(JobSubmission.model_validate(body), facts)
