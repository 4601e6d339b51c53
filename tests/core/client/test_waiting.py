"""Waiting for a job: few requests, and none of the service's troubles ends it."""

from types import SimpleNamespace

import httpx
import pytest

from dcpi_core.client import ApiError, ServiceUnreachable, WaitedTooLong
from dcpi_core.spec.errors import NotFound
from tests.core.client.conftest import job, ok, problem


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when the client sleeps, or when ``clock.now`` is moved."""
    found = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        found.now += seconds

    fake = SimpleNamespace(monotonic=lambda: found.now, sleep=sleep)
    monkeypatch.setattr("dcpi_core.client.waiting.time", fake)
    monkeypatch.setattr("dcpi_core.client.transport.time", fake)
    return found


class TestOutcome:
    def test_wait_returns_the_finished_job_and_reports_changes(self, service):
        running = job("running", phase="base", progress={"phase": "base", "step": 1})
        answers = [ok(job()), ok(job()), ok(running)]
        answers.append(ok(job("succeeded", result={"condensed_id": "cds_1"})))
        client, _ = service(answers)
        seen = []
        done = client.jobs.wait("job_1", on_change=lambda now: seen.append(now.status))
        assert done.result.condensed_id == "cds_1"
        assert seen == ["queued", "running", "succeeded"]

    @pytest.mark.parametrize("status", ["failed", "cancelled", "crashed", "expired"])
    def test_wait_ends_with_every_outcome(self, service, status):
        client, _ = service([ok(job(status, error={"code": "x", "detail": "y"}))])
        assert client.jobs.wait("job_1").status == status

    def test_wait_gives_up_in_time(self, service):
        client, _ = service(lambda _: ok(job("running")))
        with pytest.raises(WaitedTooLong, match="running"):
            client.jobs.wait("job_1", timeout=0.1)


class TestRequests:
    def holding(self, clock, last: int):
        """A service that holds its answers as it is asked to; the job ends at look ``last``."""
        looks = []

        def answer(request):
            looks.append(request)
            clock.now += int(request.url.params.get("wait", 0))
            return ok(job("succeeded" if len(looks) == last else "running"))

        return answer

    def test_the_service_holds_its_answer(self, service, clock):
        client, sent = service(self.holding(clock, 4))
        client.jobs.wait("job_1")
        assert [request.url.params.get("wait") for request in sent] == [None, "30", "30", "30"]
        assert clock.now == 90  # no rest in between
        assert sent[1].extensions["timeout"]["read"] == 60  # its usual 30 and what it was held

    def test_who_watches_asks_more_often(self, service, clock):
        client, sent = service(self.holding(clock, 21))
        client.jobs.wait("job_1", on_change=lambda _: None)
        assert (len(sent), clock.now) == (21, 60)

    def test_answers_that_come_at_once_are_rested_between(self, service, clock):
        client, sent = service(lambda _: ok(job("succeeded" if clock.now >= 60 else "running")))
        client.jobs.wait("job_1", on_change=lambda _: None)
        assert len(sent) <= 22

    def test_it_is_not_held_past_the_timeout(self, service, clock):
        client, sent = service(self.holding(clock, 99))
        with pytest.raises(WaitedTooLong, match="after 40 s"):
            client.jobs.wait("job_1", timeout=40)
        assert [request.url.params.get("wait") for request in sent] == [None, "30", "10"]


class TestTroubles:
    @pytest.mark.parametrize(
        "trouble",
        [
            lambda: httpx.ConnectError("refused"),
            lambda: problem(503, "unavailable"),
            lambda: httpx.Response(502, content=b"<html>"),
            lambda: problem(429, "rate_limited", {"retry-after": "20"}),
        ],
    )
    def test_minutes_without_the_service_are_ridden_out(self, service, clock, trouble):
        def answer(_):
            if 0 < clock.now < 300:
                return trouble()
            clock.now += 1
            return ok(job("succeeded" if clock.now > 300 else "running"))

        client, sent = service(answer)
        assert client.jobs.wait("job_1").status == "succeeded"
        assert len(sent) < 90

    @pytest.mark.parametrize(("timeout", "patience"), [(None, 600), (100, 100)])
    def test_but_not_for_ever(self, service, clock, timeout, patience):
        client, _ = service(lambda _: httpx.ConnectError("refused"))
        with pytest.raises(ServiceUnreachable):
            client.jobs.wait("job_1", timeout=timeout)
        assert patience <= clock.now < patience + 10

    def test_what_will_not_pass_ends_it(self, service, clock):
        client, sent = service([ok(job("running")), problem(404, "not_found")])
        with pytest.raises(NotFound):
            client.jobs.wait("job_1")
        assert len(sent) == 2

    def test_other_requests_have_less_patience(self, service, clock):
        client, sent = service(lambda _: problem(503, "unavailable"))
        with pytest.raises(ApiError):
            client.jobs.get("job_1")
        assert len(sent) == 3
