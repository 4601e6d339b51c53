"""A finished bundle as a row: what the worker writes when a job has succeeded."""

import hashlib
import json
from pathlib import Path
from typing import Any

from app.jobs.reuse import code_version
from app.kit.clock import now
from app.kit.ids import new_id
from app.models import Condensed, Job
from dcpi_core.spec.report import Arm, Report, shipped_arm

MEDIA_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".py": "text/x-python; charset=utf-8",
    ".safetensors": "application/octet-stream",
}


def prefix_of(condensed_id: str) -> str:
    """Below which everything of a bundle is stored."""
    return f"condensed/{condensed_id}"


def object_key(condensed_id: str, path: str) -> str:
    """Where a file of a bundle is stored."""
    return f"{prefix_of(condensed_id)}/{path}"


def describe_bundle(job: Job, directory: Path) -> Condensed:
    """The row of the bundle in ``directory``; nothing is stored yet."""
    report = Report.model_validate_json((directory / "report.json").read_text(encoding="utf-8"))
    files = [_describe(directory, path) for path in sorted(directory.rglob("*")) if path.is_file()]
    # Of several students the first counts, which the dictionary is given last.
    headline = {arm.name: _summary(arm) for arm in reversed(report.arms)}
    shipped = shipped_arm(report.arms)
    if shipped is None:
        raise ValueError(f"{directory.name}: the report does not say what the bundle is worth")
    return Condensed(
        id=new_id("cds"),
        tenant_id=job.tenant_id,
        job_id=job.id,
        dataset=job.dataset,
        base_method=job.base_method,
        pi_types=job.pi_types,
        images_per_class=job.images_per_class,
        top1=shipped.mean,
        bytes_total=report.bytes.total,
        manifest=json.loads((directory / "manifest.json").read_text(encoding="utf-8")),
        report=report.model_dump(mode="json"),
        headline=headline,
        files=files,
        code_version=code_version(),
        created_at=now(),
    )


def _summary(arm: Arm) -> dict[str, Any]:
    return {"title": arm.title, "mean": arm.mean, "std": arm.std, "n": arm.n}


def _describe(directory: Path, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "path": path.relative_to(directory).as_posix(),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media_type": MEDIA_TYPES.get(path.suffix, "text/plain; charset=utf-8"),
    }
