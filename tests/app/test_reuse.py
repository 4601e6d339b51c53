"""An equal job that was computed before is the answer, and only then."""

import pytest
from sqlalchemy import select

from app.jobs import leases
from app.jobs.reuse import DIGITS
from app.kit.db import unit_of_work
from app.models import OutboxMessage
from dcpi_core import __version__
from tests.app.conftest import FOUR_WORDS, result


def submit(client, **changes):
    response = client.post("/v1/jobs", json=FOUR_WORDS | changes)
    assert response.status_code == 202
    return response.json()


def succeed(state, job_id, **changes) -> str:
    row = result(job_id, headline={"base": {"mean": 0.5}}, **changes)
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, job_id, "worker", 60)
        assert leases.finish(session, lease, row)
    return row.id


@pytest.fixture
def computed(client, state, job_id):
    """The result of the four words."""
    return succeed(state, job_id)


def test_the_same_words_get_the_same_result_at_once(client, state, computed):
    again = submit(client, name="again", priority="high")
    assert (again["status"], again["cached"]) == ("succeeded", True)
    assert again["result"] == {"condensed_id": computed, "headline": {"base": {"mean": 0.5}}}
    assert again["finished_at"] is not None
    events = client.get(again["urls"]["events"]).json()["data"]
    assert [event["data"] for event in events] == [
        {"status": "succeeded", "cached": True, "condensed_id": computed}
    ]
    with unit_of_work(state.sessions) as session:
        rung = session.scalars(select(OutboxMessage.job_id)).all()
    assert again["id"] not in rung, "no worker is called"


def test_spelling_does_not_matter_but_meaning_does(client, computed):
    assert submit(client, fraction=0.007)["cached"]
    spelt_out = submit(client, options={"base": {"image_learning_rate": 0.1}})
    assert spelt_out["cached"], "a default that is written down is still the default"
    for changes in ({"seed": 1}, {"pi_type": "soft"}, {"options": {"base": {"iterations": 7}}}):
        other = submit(client, **changes)
        assert (other["status"], other["cached"]) == ("queued", False)


def test_it_can_be_computed_again(client, computed):
    assert submit(client, cache="ignore")["status"] == "queued"


def test_what_is_not_finished_is_not_reused(client, job_id):
    assert submit(client)["status"] == "queued"


@pytest.mark.parametrize("made_by", [__version__, "0" * DIGITS, ""])
def test_other_code_computes_for_itself(client, state, job_id, made_by):
    """Of the same version number too, which stays the same for many changes of the code."""
    succeed(state, job_id, code_version=made_by)
    assert submit(client)["status"] == "queued"


def test_other_words_are_refused(client):
    for changes in ({"cache": "refresh"}, {"priority": "urgent"}):
        response = client.post("/v1/jobs", json=FOUR_WORDS | changes)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == f"/{next(iter(changes))}"
