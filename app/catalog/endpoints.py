"""HTTP of the catalogue: what can be asked for, with the JSON Schema of every option."""

from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from app.kit.pages import only_known_parameters
from app.kit.problems import documented
from dcpi_core.spec.catalog import CatalogEntry, load_catalog

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(only_known_parameters)])


class Components(BaseModel):
    """All components of one kind."""

    object: Literal["list"] = "list"
    data: list[CatalogEntry]


@router.get(
    "/methods",
    operation_id="listMethods",
    response_model=Components,
    responses=documented(422),
    summary="Base methods",
)
def list_methods() -> Any:
    """Every base method with its options, presets and source."""
    return Components(data=list(load_catalog().methods.values()))


@router.get(
    "/privileged-types",
    operation_id="listPrivilegedTypes",
    response_model=Components,
    responses=documented(422),
    summary="Types of privileged information",
)
def list_privileged_types() -> Any:
    """Every privileged type with its options, presets and source."""
    return Components(data=list(load_catalog().privileged_types.values()))


@router.get(
    "/architectures",
    operation_id="listArchitectures",
    response_model=Components,
    responses=documented(422),
    summary="Networks",
)
def list_architectures() -> Any:
    """Every network with its options, size and cost by image size."""
    return Components(data=list(load_catalog().networks.values()))
