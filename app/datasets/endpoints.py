"""HTTP of datasets."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, File, Form, Path, Response, UploadFile

from app.datasets import service
from app.datasets.inspection import UploadOptions
from app.datasets.schemas import DatasetRead
from app.kit.app_state import SessionDep, StateDep
from app.kit.forms import UploadRoute
from app.kit.idempotency import KeyHeader
from app.kit.pages import Page, PageQueryDep, only_known_parameters
from app.kit.problems import documented
from dcpi_core.spec.base import NAME_PATTERN

router = APIRouter(
    prefix="/v1/datasets",
    tags=["datasets"],
    dependencies=[Depends(only_known_parameters)],
    route_class=UploadRoute,
)

Name = Annotated[str, Path(max_length=64, pattern=NAME_PATTERN, examples=["digits"])]


@router.get(
    "",
    operation_id="listDatasets",
    response_model=Page[DatasetRead],
    responses=documented(422),
    summary="List datasets",
)
def list_datasets(session: SessionDep, page: PageQueryDep) -> Any:
    """The published datasets, then uploads, newest first unless `order` says otherwise."""
    return service.find(session, page)


@router.post(
    "",
    status_code=201,
    operation_id="uploadDataset",
    response_model=DatasetRead,
    responses=documented(408, 409, 413, 422),
    summary="Upload a dataset",
)
async def upload_dataset(
    state: StateDep,
    response: Response,
    file: Annotated[
        UploadFile, File(description="zip, tar, tar.gz, tar.xz or tar.bz2 of class folders")
    ],
    name: Annotated[str, Form(min_length=1, max_length=64, pattern=NAME_PATTERN)],
    seed: Annotated[int, Form(ge=0, lt=2**31, description="splits an archive without test/")] = 0,
    image_size: Annotated[
        int | None, Form(ge=8, le=1024, description="resize and crop to squares of this side")
    ] = None,
    idempotency_key: KeyHeader = None,
) -> Any:
    """Folders are classes; `train/` and `test/` at the top, or one level that is split by seed.

    Every image is decoded before the answer. An archive with anything wrong in it is refused
    whole, naming the entry. With an `Idempotency-Key`, a repeated upload gets the first answer.
    """
    options = UploadOptions(name, seed, image_size)
    found, repeated = await to_thread.run_sync(
        service.upload, state, file.file, options, idempotency_key, limiter=state.uploads
    )
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/v1/datasets/{found.id}"
    return found


@router.get(
    "/{dataset}",
    operation_id="getDataset",
    response_model=DatasetRead,
    responses=documented(404, 422),
    summary="Get a dataset",
)
def get_dataset(dataset: Name, session: SessionDep) -> Any:
    """What is known about a dataset: classes, sizes, constants, licence."""
    return service.get(session, dataset)
