"""The client's webhook methods against the service itself."""

import httpx
import pytest

from app.kit.db import unit_of_work
from app.models import WebhookDelivery
from dcpi_core.client import Client, ServiceUnreachable
from dcpi_core.spec.errors import InvalidInput, NotFound


def test_an_endpoint_is_made_seen_rotated_and_deleted(dcpi):
    made = dcpi.webhooks.create("https://example.org/hook", ["job.succeeded"])
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    (listed,) = dcpi.webhooks.each()
    assert (listed.id, listed.events, listed.secret) == (made.id, ("job.succeeded",), None)
    assert dcpi.webhooks.rotate(made.id).secret not in (None, made.secret)
    dcpi.webhooks.delete(made.id)
    with pytest.raises(NotFound):
        dcpi.webhooks.get(made.id)


def test_a_refused_address_names_the_field(dcpi):
    with pytest.raises(InvalidInput) as refused:
        dcpi.webhooks.create("ftp://example.org")
    assert [problem.pointer for problem in refused.value.problems] == ["/url"]


def test_messages_are_listed_and_sent_again(dcpi, state, job_id):
    endpoint = dcpi.webhooks.create("https://example.org/hook")
    dcpi.jobs.cancel(job_id)
    (message,) = dcpi.webhooks.deliveries(endpoint.id)
    assert (message.type, message.job_id, message.status) == ("job.cancelled", job_id, "waiting")
    with unit_of_work(state.sessions) as session:
        session.get_one(WebhookDelivery, message.id).next_at = None
    (given_up,) = dcpi.webhooks.deliveries(endpoint.id)
    assert given_up.status == "failed"
    assert dcpi.webhooks.redeliver(endpoint.id, message.id).status == "waiting"


def test_an_endpoint_is_asked_for_once_even_if_the_answer_is_lost():
    asked = []

    def lose(request):
        asked.append(request)
        raise httpx.ReadError("lost", request=request)

    with (
        Client("http://dcpi.test", transport=httpx.MockTransport(lose), retries=5) as dcpi,
        pytest.raises(ServiceUnreachable),
    ):
        dcpi.webhooks.create("https://example.org/hook")
    assert len(asked) == 1
