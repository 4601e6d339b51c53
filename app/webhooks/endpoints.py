"""HTTP of webhook endpoints."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from app.kit.app_state import SessionDep, StateDep
from app.kit.bodies import JsonRoute
from app.kit.pages import Page, PageQueryDep, only_known_parameters
from app.kit.problems import documented
from app.webhooks import service
from app.webhooks.schemas import (
    DeliveryRead,
    EndpointCreate,
    EndpointRead,
    EndpointSecret,
    read_delivery,
    read_endpoint,
    read_secret,
)

router = APIRouter(
    prefix="/v1/webhook-endpoints",
    tags=["webhooks"],
    dependencies=[Depends(only_known_parameters)],
    route_class=JsonRoute,
)

EndpointId = Annotated[
    str, Path(pattern=r"^we_[0-9A-Z]{26}$", examples=["we_01JD0000000000000000000000"])
]
DeliveryId = Annotated[
    str, Path(pattern=r"^msg_[0-9A-Z]{26}$", examples=["msg_01JD0000000000000000000000"])
]


@router.post(
    "",
    status_code=201,
    operation_id="createWebhookEndpoint",
    response_model=EndpointSecret,
    responses=documented(413, 415, 422),
    summary="Add a webhook endpoint",
)
def create_endpoint(
    body: EndpointCreate, session: SessionDep, state: StateDep, response: Response
) -> Any:
    """Have events of jobs posted to an address, signed as Standard Webhooks.

    The secret is in this answer only. A message is tried ten times within three days; an answer
    other than 2xx, a redirect included, is a failure, and 410 disables the endpoint.
    """
    row = service.create(session, state.settings, body)
    response.headers["Location"] = f"/v1/webhook-endpoints/{row.id}"
    return read_secret(row)


@router.get(
    "",
    operation_id="listWebhookEndpoints",
    response_model=Page[EndpointRead],
    responses=documented(422),
    summary="List webhook endpoints",
)
def list_endpoints(session: SessionDep, page: PageQueryDep) -> Any:
    """Endpoints, newest first, without their secrets."""
    return service.find(session, page)


@router.get(
    "/{endpoint_id}",
    operation_id="getWebhookEndpoint",
    response_model=EndpointRead,
    responses=documented(404, 422),
    summary="Get a webhook endpoint",
)
def get_endpoint(endpoint_id: EndpointId, session: SessionDep) -> Any:
    """An endpoint without its secret."""
    return read_endpoint(service.get(session, endpoint_id))


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    operation_id="deleteWebhookEndpoint",
    responses=documented(404, 422),
    summary="Delete a webhook endpoint",
)
def delete_endpoint(endpoint_id: EndpointId, session: SessionDep) -> None:
    """Delete the endpoint and every message to it."""
    service.delete(session, endpoint_id)


@router.post(
    "/{endpoint_id}/rotate",
    operation_id="rotateWebhookSecret",
    response_model=EndpointSecret,
    responses=documented(404, 422),
    summary="Replace an endpoint's secret",
)
def rotate_secret(endpoint_id: EndpointId, session: SessionDep) -> Any:
    """Make a new secret; for a day messages carry a signature by the previous one as well."""
    return read_secret(service.rotate(session, endpoint_id))


@router.get(
    "/{endpoint_id}/deliveries",
    operation_id="listWebhookDeliveries",
    response_model=Page[DeliveryRead],
    responses=documented(404, 422),
    summary="List the messages to an endpoint",
)
def list_deliveries(endpoint_id: EndpointId, session: SessionDep, page: PageQueryDep) -> Any:
    """Messages of the last month, newest first, with what became of each."""
    return service.deliveries(session, endpoint_id, page)


@router.post(
    "/{endpoint_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    operation_id="redeliverWebhook",
    response_model=DeliveryRead,
    responses=documented(404, 422),
    summary="Send a message again",
)
def redeliver(endpoint_id: EndpointId, delivery_id: DeliveryId, session: SessionDep) -> Any:
    """Send a message once more, under its old id; a disabled endpoint is enabled by it."""
    return read_delivery(service.redeliver(session, endpoint_id, delivery_id))
