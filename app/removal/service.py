"""Deletion that deletes: rows at once, objects as soon as the storage can be reached.

What others may be about to refer to is locked before it is asked who does: they are waited for and
then seen, or wait and find it gone. An upload is locked before the jobs on it, and a job before its
result.

Not reached from here: backups, earlier versions in a bucket that keeps them, and networks that a
worker trained on a dataset and keeps among its prepared assets.
"""

from datetime import timedelta

from sqlalchemy.orm import Session

from app.condensed import repository as condensed_sets
from app.condensed.registration import prefix_of
from app.datasets import repository as datasets
from app.jobs import checkpoints, control
from app.jobs import repository as jobs
from app.jobs.states import TERMINAL
from app.kit.clock import now
from app.kit.erasure import erase
from app.models import Condensed, Verification
from app.removal import repository
from app.verifications import repository as verifications
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import Conflict, NotFound

BATCH = 100
"""Jobs that are deleted in one transaction."""


def delete_job(session: Session, job_id: str) -> None:
    """Delete a job with its history, its checkpoint and its result.

    A result that another job was answered with is that job's from now on.

    Raises:
        NotFound: there is no such job.
        Conflict: the job has not ended.
    """
    job = jobs.get(session, job_id, lock=True)
    if job.status not in TERMINAL:
        raise Conflict(f"the job is {job.status}; cancel it first, then it can be deleted")
    result = repository.result_made_by(session, job_id)
    if result is not None:
        heir = repository.other_user_of(session, result.id, job_id)
        if heir is None:
            _delete_result(session, result)
        else:
            result.job_id = heir.id
        session.flush()
    verification = verifications.by_job(session, job_id)
    if verification is not None:
        _delete_verification(session, verification)
    repository.delete_history(session, job_id)
    repository.forget_answers(session, job_id)
    erase(session, f"{checkpoints.folder_of(job_id)}/")
    session.delete(job)


def delete_condensed(session: Session, condensed_id: str) -> None:
    """Delete a condensed dataset; jobs that were answered with it keep their history only.

    Raises:
        NotFound: there is no such condensed dataset.
    """
    repository.lock_maker(session, condensed_id)
    _delete_result(session, condensed_sets.get(session, condensed_id, lock=True))


def delete_dataset(session: Session, wanted: str) -> None:
    """Delete an upload by name or id; what was condensed from it stays.

    Raises:
        NotFound: there is no such dataset.
        Conflict: it is a published one, or a job on it has not ended.
    """
    if wanted in load_catalog().datasets:
        raise Conflict(f"{wanted!r} is a published dataset; only uploads can be deleted")
    row = datasets.by_id_or_name(session, wanted, lock={})
    if row is None:
        raise NotFound(f"no dataset {wanted!r}")
    active = repository.active_jobs_on(session, row.id)
    if active:
        raise Conflict(f"{active} jobs on {row.name!r} have not ended; cancel them first")
    repository.forget_dataset(session, row.id)
    repository.forget_answers(session, row.id)
    erase(session, row.storage_key)
    session.delete(row)


def delete_old(session: Session, days: float) -> list[str]:
    """Delete jobs that ended more than so many days ago; returns which, ``BATCH`` at most."""
    found = repository.ended_before(session, now() - timedelta(days=days), BATCH)
    for job_id in found:
        delete_job(session, job_id)
    return found


def _delete_result(session: Session, row: Condensed) -> None:
    for verification in repository.verifications_of(session, row.id):
        control.cancel(session, verification.job_id)  # unless it has ended
        _delete_verification(session, verification)
    repository.forget_result(session, row.id)
    erase(session, f"{prefix_of(row.id)}/")
    session.delete(row)


def _delete_verification(session: Session, row: Verification) -> None:
    repository.forget_answers(session, row.id)
    session.delete(row)
    session.flush()
