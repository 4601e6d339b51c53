"""What a verification found, put on record: written by the worker whose job has succeeded."""

from sqlalchemy.orm import Session

from app.jobs import leases
from app.jobs.leases import Lease
from app.kit.clock import now
from app.verifications import repository
from dcpi_core.spec.verification import Verification


def conclude(session: Session, lease: Lease, found: Verification) -> bool:
    """Record what was found and end the job; false if the lease was lost.

    Raises:
        NotFound: the condensed dataset was deleted meanwhile.
    """
    row = repository.of_job(session, lease.job_id)
    if not leases.succeed(session, lease, {"verification_id": row.id, "verdict": found.verdict}):
        # Also if an earlier try was committed and only its answer was lost on the way.
        return row.verdict is not None
    row.verdict = found.verdict
    row.record = found.model_dump(mode="json")
    row.finished_at = now()
    return True
