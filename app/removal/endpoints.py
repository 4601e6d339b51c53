"""HTTP of deletion."""

from fastapi import APIRouter, Depends

from app.condensed.endpoints import CondensedId
from app.datasets.endpoints import Name
from app.jobs.endpoints import JobId
from app.kit.app_state import SessionDep
from app.kit.pages import only_known_parameters
from app.kit.problems import documented
from app.removal import service

router = APIRouter(prefix="/v1", dependencies=[Depends(only_known_parameters)])


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    operation_id="deleteJob",
    responses=documented(404, 409, 422),
    tags=["jobs"],
    summary="Delete a job and its result",
)
def delete_job(job_id: JobId, session: SessionDep) -> None:
    """Delete a job that has ended, with its history, checkpoint and result.

    A result that equal jobs were answered with stays until the last of them is deleted. Of a job
    that verified a set, the result is the record.
    """
    service.delete_job(session, job_id)


@router.delete(
    "/condensed/{condensed_id}",
    status_code=204,
    operation_id="deleteCondensed",
    responses=documented(404, 422),
    tags=["condensed"],
    summary="Delete a condensed dataset",
)
def delete_condensed(condensed_id: CondensedId, session: SessionDep) -> None:
    """Delete all of its files and verifications; jobs that were answered with it stay, without it.

    Verifications that have not ended are cancelled.
    """
    service.delete_condensed(session, condensed_id)


@router.delete(
    "/datasets/{dataset}",
    status_code=204,
    operation_id="deleteDataset",
    responses=documented(404, 409, 422),
    tags=["datasets"],
    summary="Delete an uploaded dataset",
)
def delete_dataset(dataset: Name, session: SessionDep) -> None:
    """Delete an upload by name or id; refused while a job on it has not ended."""
    service.delete_dataset(session, dataset)
