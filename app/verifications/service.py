"""Rules about verifications: what is accepted, and how they are found."""

import logging
from typing import Any

from sqlalchemy.orm import Session

from app.condensed import repository as condensed_sets
from app.condensed import service as condensed
from app.condensed.schemas import Verified
from app.jobs import repository as jobs
from app.jobs import usage
from app.jobs.kinds import Kind
from app.jobs.submission import enqueue, queued
from app.kit.db import KEPT
from app.kit.idempotency import Answer, recall, remember
from app.kit.ids import new_id
from app.kit.pages import PageQuery
from app.kit.rows import insert
from app.models import Verification
from app.settings import Settings
from app.verifications import repository
from app.verifications.schemas import (
    DEFAULT_REPEATS,
    VerificationCreate,
    VerificationRead,
    read_verification,
)
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import Conflict, InvalidInput
from dcpi_core.spec.estimate import estimate_verification
from dcpi_core.spec.job import JobSpec

logger = logging.getLogger(__name__)

OPERATION = "createVerification"


def create(
    session: Session,
    settings: Settings,
    condensed_id: str,
    body: VerificationCreate,
    key: str | None = None,
) -> tuple[Answer, bool]:
    """Accept a verification, once for each idempotency key, with the job that carries it out.

    Returns:
        The verification as it is shown, and whether this is the answer to an earlier request.

    Raises:
        NotFound: there is no such condensed dataset.
        InvalidInput: more students are asked for than the report has.
        Conflict: the upload whose test images are needed was deleted.
        QuotaExceeded: the tenant has as many jobs or device seconds as it may.
    """
    asked = {"condensed_id": condensed_id, **body.model_dump(mode="json")}
    known = recall(session, OPERATION, key, asked)
    if known is not None:
        return known, True
    made = _rows(session, settings, condensed_id, body)
    answer = read_verification(made).model_dump(mode="json")
    # Before anything else is written: a twin of this request waits here for it to commit.
    known = remember(session, OPERATION, key, asked, answer)
    if known is not None:
        return known, True
    usage.require_room(session, 0)
    enqueue(session, made.job)
    insert(session, made)
    logger.info("job %s: submitted, to verify %s", made.job_id, condensed_id)
    return answer, False


def find(session: Session, condensed_id: str, page: PageQuery) -> dict[str, Any]:
    """A page of the verifications of a condensed dataset; raises NotFound."""
    condensed_sets.get(session, condensed_id)
    return page.page(repository.find(session, condensed_id, page), read_verification)


def get(session: Session, condensed_id: str, verification_id: str) -> VerificationRead:
    """One verification as it is shown; raises NotFound."""
    return read_verification(repository.get(session, condensed_id, verification_id))


def verified(session: Session, condensed_id: str) -> Verified:
    """What the latest verification found; raises NotFound."""
    return condensed.get(session, condensed_id).verified


def _rows(
    session: Session, settings: Settings, condensed_id: str, body: VerificationCreate
) -> Verification:
    """The verification and, as its ``job``, that which carries it out; neither is written yet."""
    row = condensed_sets.get(session, condensed_id, lock=KEPT)
    made_by = jobs.get(session, row.job_id)
    spec = JobSpec.model_validate(made_by.spec)
    if made_by.dataset_id is None and made_by.dataset not in load_catalog().datasets:
        raise Conflict(
            f"the dataset {made_by.dataset!r} was deleted, and with it the test images that "
            "accuracies are measured on"
        )
    repeats = _repeats(body, spec)
    job = queued(
        settings,
        Kind.VERIFY,
        body.priority,
        body.deadline_seconds,
        labels={},
        request={"condensed_id": row.id, "repeats": repeats},
        spec=made_by.spec,
        spec_digest=made_by.spec_digest,
        dataset=row.dataset,
        dataset_id=made_by.dataset_id,
        base_method=row.base_method,
        pi_types=row.pi_types,
        images_per_class=row.images_per_class,
        estimate=estimate_verification(spec, repeats).model_dump(mode="json"),
    )
    return Verification(
        id=new_id("ver"),
        condensed_id=row.id,
        job_id=job.id,
        job=job,
        repeats=repeats,
        created_at=job.created_at,
    )


def _repeats(body: VerificationCreate, spec: JobSpec) -> int:
    most = spec.evaluation.repeats
    if body.repeats is not None and body.repeats > most:
        message = f"the report has {most} students of each arm; {body.repeats} are more than that"
        raise InvalidInput.at("/repeats", message)
    return body.repeats or min(DEFAULT_REPEATS, most)
