"""HTTP of condensed datasets."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from app.condensed import service
from app.condensed.downloads import ZIP, serve, serve_archive
from app.condensed.schemas import CondensedRead, FileRead
from app.kit.app_state import AppState, SessionDep, StateDep, fetch, look
from app.kit.pages import Page, PageQueryDep, PathPageQueryDep, only_known_parameters
from app.kit.problems import documented

router = APIRouter(
    prefix="/v1/condensed", tags=["condensed"], dependencies=[Depends(only_known_parameters)]
)

CondensedId = Annotated[
    str, Path(pattern=r"^cds_[0-9A-Z]{26}$", examples=["cds_01JD0000000000000000000000"])
]
Text = Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")]
Responses = dict[int | str, dict[str, Any]]
ON_FILES: Responses = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}},
    206: {"description": "part of the file"},
    304: {"description": "not modified"},
    **documented(404, 416, 422),
}


def _media(kind: str) -> Responses:
    return {**ON_FILES, 200: {"content": {kind: {}}}}


@router.get(
    "",
    operation_id="listCondensed",
    response_model=Page[CondensedRead],
    responses=documented(422),
    summary="List condensed datasets, newest first",
)
def list_condensed(
    session: SessionDep,
    page: PageQueryDep,
    dataset: Text = None,
    base_method: Text = None,
    pi_type: Text = None,
    images_per_class: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
) -> Any:
    """Results that match every filter given."""
    filters = {
        "dataset": dataset,
        "base_method": base_method,
        "pi_type": pi_type,
        "images_per_class": images_per_class,
    }
    return service.find(session, page, filters)


@router.get(
    "/{condensed_id}",
    operation_id="getCondensed",
    response_model=CondensedRead,
    responses=documented(404, 422),
    summary="Get a condensed dataset",
)
def get_condensed(condensed_id: CondensedId, session: SessionDep) -> Any:
    """What it is, what it is worth, and where its files are."""
    return service.get(session, condensed_id)


@router.head("/{condensed_id}/manifest.json", include_in_schema=False)
@router.get(
    "/{condensed_id}/manifest.json",
    operation_id="getManifest",
    response_class=Response,
    responses=_media("application/json"),
    summary="The manifest",
)
async def get_manifest(request: Request, condensed_id: CondensedId, state: StateDep) -> Response:
    """What every file and tensor is, how to preprocess and how to train."""
    return await _file(request, condensed_id, "manifest.json", state)


@router.head("/{condensed_id}/report.json", include_in_schema=False)
@router.get(
    "/{condensed_id}/report.json",
    operation_id="getReport",
    response_class=Response,
    responses=_media("application/json"),
    summary="The accuracy report",
)
async def get_report(request: Request, condensed_id: CondensedId, state: StateDep) -> Response:
    """Every arm with its raw runs, paired differences, bytes and cost."""
    return await _file(request, condensed_id, "report.json", state)


@router.head("/{condensed_id}/preview.png", include_in_schema=False)
@router.get(
    "/{condensed_id}/preview.png",
    operation_id="getPreview",
    response_class=Response,
    responses=_media("image/png"),
    summary="A picture of the images",
)
async def get_preview(request: Request, condensed_id: CondensedId, state: StateDep) -> Response:
    """Classes as rows, images as columns."""
    return await _file(request, condensed_id, "previews/grid.png", state)


@router.get(
    "/{condensed_id}/files",
    operation_id="listFiles",
    response_model=Page[FileRead],
    responses=documented(404, 422),
    summary="List the files of a bundle",
)
def list_files(condensed_id: CondensedId, session: SessionDep, page: PathPageQueryDep) -> Any:
    """Every file with its size and sha256, by path; a page goes on after the path `after`."""
    return service.files(session, condensed_id, page)


@router.head("/{condensed_id}/files/{path:path}", include_in_schema=False)
@router.get(
    "/{condensed_id}/files/{path:path}",
    operation_id="downloadFile",
    response_class=Response,
    responses=ON_FILES,
    summary="Download a file",
)
async def download_file(
    request: Request,
    condensed_id: CondensedId,
    path: Annotated[str, Path(max_length=200, examples=["data.safetensors"])],
    state: StateDep,
) -> Response:
    """The file, whole or in part; its ETag is its sha256."""
    return await _file(request, condensed_id, path, state)


@router.head("/{condensed_id}/archive", include_in_schema=False)
@router.get(
    "/{condensed_id}/archive",
    operation_id="downloadArchive",
    response_class=StreamingResponse,
    responses={200: {"content": {ZIP: {}}}, **documented(404, 422)},
    summary="Download everything as one zip",
)
async def download_archive(
    request: Request, condensed_id: CondensedId, state: StateDep
) -> Response:
    """The bundle with members stored as they are; `dcpi_core.load` reads it without unpacking."""
    row = await look(state, partial(service.row_of, condensed_id=condensed_id))
    return await fetch(state, partial(serve_archive, request, row))


async def _file(request: Request, condensed_id: str, path: str, state: AppState) -> Response:
    row = await look(state, partial(service.row_of, condensed_id=condensed_id))
    return await fetch(state, partial(serve, request, row, path))
