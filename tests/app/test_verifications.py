"""Verifications over HTTP: asked for, watched as jobs, listed, and summed up in a badge."""

import xml.etree.ElementTree as ElementTree

import pytest
from alembic import command
from sqlalchemy import func, select, update

from app.condensed.schemas import Verified
from app.jobs import leases
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.migrate import config_for
from app.models import DEFAULT_TENANT, Job, OutboxMessage, Tenant, Verification
from app.verifications import badge, recording
from dcpi_core.client.models import Verification as RemoteVerification
from dcpi_core.spec import verification as core
from dcpi_core.spec.errors import InvalidInput
from dcpi_core.spec.report import Arm, Environment
from tests.app.conftest import FOUR_WORDS, result

MADE = {"options": {"evaluation": {"repeats": 2}}}


@pytest.fixture
def condensed_id(client, state) -> str:
    """A condensed dataset whose report has two students of each arm."""
    job_id = client.post("/v1/jobs", json=FOUR_WORDS | MADE).json()["id"]
    row = result(job_id)
    with unit_of_work(state.sessions) as session:
        assert leases.finish(session, leases.claim(session, job_id, "worker", 60), row)
        session.query(OutboxMessage).delete()
        return row.id


def ask(client, condensed_id, headers=None, **body):
    return client.post(f"/v1/condensed/{condensed_id}/verifications", json=body, headers=headers)


def record(measured: float = 0.5) -> core.Verification:
    """What a worker hands in, of a report that says 0.5."""
    arm = Arm(
        name="base",
        title="dc",
        network="ConvNetD2",
        num_images=10,
        train_bytes=1,
        runs=(0.5, 0.5),
        per_class=(0.5,),
    )
    found = core.ArmVerification.of(arm, (measured, measured))
    return core.Verification(
        bundle="cds_1",
        manifest_sha256="0" * 64,
        created_at="2026-11-21T12:00:00+00:00",
        environment=Environment(
            dcpi="0", python="3", torch="2", machine="m", device="cpu", threads=1, engine="e"
        ),
        seeds=(1, 2),
        arms=(found,),
        verdict=found.verdict,
    )


def carry_out(state, verification: dict, found: core.Verification) -> None:
    """Claim the verification's job and end it with this record, as a worker does."""
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, verification["job_id"], "worker", 60)
        assert recording.conclude(session, lease, found)


def verified(client, condensed_id) -> dict:
    alone = client.get(f"/v1/condensed/{condensed_id}").json()["verified"]
    (listed,) = client.get("/v1/condensed").json()["data"]
    assert listed["verified"] == alone
    return alone


def test_it_is_queued_as_a_job_like_all_others(client, state, condensed_id):
    response = ask(client, condensed_id, deadline_seconds=3600, priority="high")
    made = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == made["urls"]["self"]
    assert client.get(made["urls"]["self"]).json() == made
    assert (made["status"], made["outcome"], made["record"]) == ("queued", None, None)
    assert made["repeats"] == 2, "the report has no more"
    job = client.get(made["urls"]["job"]).json()
    assert (job["kind"], job["status"], job["priority"]) == ("verify", "queued", "high")
    assert job["deadline_at"] is not None
    assert (job["dataset"], job["base_method"], job["result"]) == ("digits", "dc", None)
    assert job["estimate"]["seconds"]["cpu"][1] > 0
    assert job["urls"]["verifications"] == f"/v1/condensed/{condensed_id}/verifications"
    (event,) = client.get(made["urls"]["events"]).json()["data"]
    assert event["data"] == {"status": "queued"}
    with unit_of_work(state.sessions) as session:
        assert session.scalars(select(OutboxMessage.job_id)).all() == [made["job_id"]]
    for kind, count in (("verify", 1), ("condense", 1)):
        assert len(client.get("/v1/jobs", params={"kind": kind}).json()["data"]) == count
    assert client.get("/v1/jobs", params={"kind": "cook"}).status_code == 422


def test_without_a_body_it_is_the_usual_one(client, condensed_id):
    response = client.post(f"/v1/condensed/{condensed_id}/verifications")
    assert (response.status_code, response.json()["repeats"]) == (202, 2)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"repeats": 3}, "/repeats"),
        ({"repeats": 0}, "/repeats"),
        ({"repeats": 21}, "/repeats"),
        ({"repeets": 1}, "/repeets"),
        ({"deadline_seconds": 0}, "/deadline_seconds"),
        ({"priority": "urgent"}, "/priority"),
    ],
)
def test_bad_requests_name_the_field(client, condensed_id, body, pointer):
    response = ask(client, condensed_id, **body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert client.get(f"/v1/condensed/{condensed_id}/verifications").json()["data"] == []


def test_more_students_than_reported_is_told_with_their_number(client, condensed_id):
    detail = ask(client, condensed_id, repeats=3).json()["detail"]
    assert detail == "the report has 2 students of each arm; 3 are more than that"


def test_what_is_not_there_cannot_be_verified(client, condensed_id):
    nothing = "cds_" + "0" * 26
    assert ask(client, nothing).status_code == 404
    assert client.get(f"/v1/condensed/{nothing}/verifications").status_code == 404
    assert client.get(f"/v1/condensed/{nothing}/badge.svg").status_code == 404
    other = f"/v1/condensed/{condensed_id}/verifications/ver_{'0' * 26}"
    assert client.get(other).status_code == 404


def test_a_verification_is_found_below_its_own_set_only(client, state, condensed_id):
    made = ask(client, condensed_id).json()
    job_id = client.post("/v1/jobs", json=FOUR_WORDS | {"seed": 1}).json()["id"]
    other = result(job_id)
    with unit_of_work(state.sessions) as session:
        leases.finish(session, leases.claim(session, job_id, "worker", 60), other)
        other_id = other.id
    wrong = made["urls"]["self"].replace(condensed_id, other_id)
    assert client.get(wrong).status_code == 404


def test_a_repeated_request_is_answered_once(client, condensed_id):
    once = {"Idempotency-Key": "once"}
    first, again = (ask(client, condensed_id, once, repeats=1) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ask(client, condensed_id, once, repeats=2).status_code == 422
    assert len(client.get(f"/v1/condensed/{condensed_id}/verifications").json()["data"]) == 1


def test_it_counts_against_the_quota_of_jobs(client, state, condensed_id):
    with unit_of_work(state.sessions) as session:
        own = update(Tenant).where(Tenant.id == DEFAULT_TENANT)
        session.execute(own.values(max_queued_jobs=1))
    assert ask(client, condensed_id).status_code == 202
    refused = ask(client, condensed_id)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.headers["Retry-After"]


def test_the_outcome_is_recorded_listed_and_told(client, state, condensed_id):
    hook = {"url": "https://hooks.example/dcpi", "events": ["job.succeeded"]}
    endpoint = client.post("/v1/webhook-endpoints", json=hook).json()["id"]
    assert verified(client, condensed_id) == Verified().model_dump(mode="json")
    first = ask(client, condensed_id).json()
    carry_out(state, first, record())
    found = client.get(first["urls"]["self"]).json()
    assert (found["status"], found["outcome"]) == ("succeeded", "passed")
    (arm,) = found["record"]["arms"]
    assert (arm["reported_mean"], arm["measured_mean"]) == (0.5, 0.5)
    assert arm["tolerance"] == pytest.approx(0.03)
    assert "3 times 0.01, the least standard deviation" in arm["tolerance_reason"]
    assert verified(client, condensed_id) == {
        "outcome": "passed",
        "verified_at": found["finished_at"],
        "n": 2,
        "verification_id": first["id"],
    }
    events = client.get(first["urls"]["events"]).json()["data"]
    assert events[-1]["data"] == {
        "status": "succeeded",
        "verification_id": first["id"],
        "verdict": "reproduced",
    }
    (delivery,) = client.get(f"/v1/webhook-endpoints/{endpoint}/deliveries").json()["data"]
    assert delivery["payload"]["data"] == {
        "job_id": first["job_id"],
        "kind": "verify",
        "status": "succeeded",
        "condensed_id": None,
    }

    second = ask(client, condensed_id).json()
    assert verified(client, condensed_id)["outcome"] == "passed", "until it has ended"
    carry_out(state, second, record(measured=0.4))
    assert verified(client, condensed_id)["outcome"] == "failed"
    listed = client.get(f"/v1/condensed/{condensed_id}/verifications").json()["data"]
    assert [(row["id"], row["outcome"]) for row in listed] == [
        (second["id"], "failed"),
        (first["id"], "passed"),
    ]


def test_a_worker_that_lost_its_lease_records_nothing(client, state, condensed_id):
    made = ask(client, condensed_id).json()
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, made["job_id"], "worker", 60)
        assert leases.hand_over(session, lease)
        assert not recording.conclude(session, lease, record())
    assert client.get(made["urls"]["self"]).json()["outcome"] is None


def test_an_answer_lost_on_the_way_does_not_undo_the_record(client, state, condensed_id):
    made = ask(client, condensed_id).json()
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, made["job_id"], "worker", 60)
    for _ in range(2):
        with unit_of_work(state.sessions) as session:
            assert recording.conclude(session, lease, record())
    assert client.get(made["urls"]["self"]).json()["outcome"] == "passed"


def test_it_can_be_cancelled_and_tried_again(client, condensed_id):
    made = ask(client, condensed_id).json()
    client.post(f"/v1/jobs/{made['job_id']}/cancel")
    assert client.get(made["urls"]["self"]).json()["status"] == "cancelled"
    assert verified(client, condensed_id)["outcome"] == "none"
    assert client.post(f"/v1/jobs/{made['job_id']}/retry").json()["status"] == "queued"


def test_why_there_is_no_record(client, state, condensed_id):
    made = ask(client, condensed_id).json()
    with unit_of_work(state.sessions) as session:
        lease = leases.claim(session, made["job_id"], "worker", 60)
        leases.fail(session, lease, "dataset_unavailable", "put it there")
    found = client.get(made["urls"]["self"]).json()
    assert found["error"] == {"code": "dataset_unavailable", "detail": "put it there"}


def test_without_the_upload_there_is_nothing_to_measure_on(client, state, condensed_id):
    with unit_of_work(state.sessions) as session:
        session.execute(update(Job).values(dataset="pets"))
    response = ask(client, condensed_id)
    assert (response.status_code, "'pets' was deleted" in response.json()["detail"]) == (409, True)


class TestDeletion:
    def test_of_the_set_takes_its_verifications_along(self, client, state, condensed_id):
        done, waiting = (
            ask(client, condensed_id, {"Idempotency-Key": key}).json() for key in ("a", "b")
        )
        carry_out(state, done, record())
        assert client.delete(f"/v1/condensed/{condensed_id}").status_code == 204
        statuses = [client.get(made["urls"]["job"]).json()["status"] for made in (done, waiting)]
        assert statuses == ["succeeded", "cancelled"]
        with unit_of_work(state.sessions) as session:
            assert session.scalar(select(func.count()).select_from(Verification)) == 0
        for made in (done, waiting):
            assert client.delete(made["urls"]["job"]).status_code == 204

    def test_of_the_job_takes_its_record_and_leaves_the_one_before(
        self, client, state, condensed_id
    ):
        first, second = (ask(client, condensed_id).json() for _ in range(2))
        carry_out(state, first, record())
        carry_out(state, second, record(measured=0.4))
        assert client.delete(second["urls"]["job"]).status_code == 204
        assert verified(client, condensed_id)["verification_id"] == first["id"]
        assert client.get(second["urls"]["self"]).status_code == 404

    def test_of_the_job_that_made_the_set(self, client, state, condensed_id):
        made = ask(client, condensed_id).json()
        maker = client.get(f"/v1/condensed/{condensed_id}").json()["urls"]["job"]
        assert client.delete(maker).status_code == 204
        assert client.get(f"/v1/condensed/{condensed_id}").status_code == 404
        assert client.get(made["urls"]["job"]).json()["status"] == "cancelled"


def test_a_version_before_this_one_finds_nothing_that_it_does_not_know(
    client, settings, state, condensed_id
):
    made = ask(client, condensed_id).json()
    command.downgrade(config_for(settings.resolved_database_url), "0005_queue_index")
    with state.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT id FROM jobs").scalars().all()
        events = connection.exec_driver_sql("SELECT DISTINCT job_id FROM job_events").scalars()
        assert made["job_id"] not in [*left, *events]
        assert len(left) == 1, "the one that made the set"


class TestBadge:
    def test_says_what_the_latest_verification_found(self, client, state, condensed_id):
        address = f"/v1/condensed/{condensed_id}/badge.svg"
        before = client.get(address)
        assert before.headers["content-type"] == "image/svg+xml"
        assert before.headers["cache-control"] == "private, no-cache"
        assert shown(before.text) == ["report", "not verified"]
        known = {"If-None-Match": before.headers["etag"]}
        unchanged = client.get(address, headers=known)
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert client.head(address).headers["etag"] == before.headers["etag"]

        carry_out(state, ask(client, condensed_id).json(), record())
        after = client.get(address, headers=known)
        assert after.status_code == 200, "the badge is another one now"
        assert shown(after.text) == ["report", f"passed {now().date()}, n = 2"]

        damaged = record().model_copy(
            update={
                "arms": (),
                "failed_checks": (core.FailedCheck(name="a", detail="b"),),
                "verdict": "damaged",
            }
        )
        carry_out(state, ask(client, condensed_id).json(), damaged)
        assert shown(client.get(address).text) == ["report", f"failed {now().date()}"]

    def test_outcomes_differ_in_colour_as_in_words(self):
        at = now()
        drawn = {
            badge.draw(Verified(outcome=outcome, verified_at=at, n=1))
            for outcome in ("none", "passed", "failed")
        }
        assert len(drawn) == 3
        assert len(set(badge.COLOURS.values())) == 3


def shown(svg: str) -> list[str]:
    """The texts of a picture, which must be well-formed."""
    root = ElementTree.fromstring(svg)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


class TestOurClient:
    """The client's methods against the service itself."""

    def test_asks_waits_and_reads_the_record(self, dcpi, client, state, condensed_id):
        assert dcpi.condensed.get(condensed_id).verified.outcome == "none"
        asked = dcpi.condensed.verify(condensed_id, repeats=1)
        assert (asked.status, asked.repeats, asked.record) == ("queued", 1, None)
        carry_out(state, {"job_id": asked.job_id}, record())
        assert dcpi.jobs.wait(asked.job_id, timeout=1).status == "succeeded"
        found = dcpi.condensed.verifications(condensed_id).get(asked.id)
        assert (found.outcome, found.record) == ("passed", record())
        (listed,) = dcpi.condensed.verifications(condensed_id).each()
        assert listed == found
        seen = dcpi.condensed.get(condensed_id).verified
        assert (seen.outcome, seen.n, seen.verification_id) == ("passed", 1, asked.id)

    def test_the_same_key_starts_nothing_new(self, dcpi, condensed_id):
        first, again = (
            dcpi.condensed.verify(condensed_id, idempotency_key="mine") for _ in range(2)
        )
        assert first == again

    def test_a_refusal_names_the_field(self, dcpi, condensed_id):
        with pytest.raises(InvalidInput, match="has 2 students of each arm") as refused:
            dcpi.condensed.verify(condensed_id, repeats=3)
        assert [problem.pointer for problem in refused.value.problems] == ["/repeats"]

    def test_fields_that_a_newer_service_adds_are_no_error(self):
        newer = record().model_dump(mode="json") | {"novelty": 7}
        newer["arms"][0]["novelty"] = 7
        found = RemoteVerification.model_validate(
            {"id": "ver_1", "condensed_id": "cds_1", "job_id": "job_1"}
            | {"status": "succeeded", "repeats": 2, "record": newer}
        )
        assert found.record == record()
