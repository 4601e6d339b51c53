"""New rows that are written as they are, on both databases."""

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError

from app.kit.clock import now
from app.kit.db import build_sessions, reading, unit_of_work
from app.kit.rows import insert
from app.kit.tenancy import bound
from app.models import Job, JobEvent, OutboxMessage
from tests.app.conftest import queued


@pytest.fixture
def sessions(each_engine):
    return build_sessions(each_engine)


def first(job_id: str) -> JobEvent:
    return JobEvent(
        job_id=job_id, seq=1, type="status", data={"status": "queued"}, created_at=now()
    )


def test_a_row_is_as_a_flush_would_have_written_it(sessions):
    with unit_of_work(sessions) as session:
        insert(session, queued("job_written"), first("job_written"))
        session.add(queued("job_flushed"))
    with reading(sessions) as session:
        written, flushed = (session.get_one(Job, f"job_{how}") for how in ("written", "flushed"))
        for column in set(Job.__table__.c.keys()) - {"id", "created_at", "queued_at"}:
            assert getattr(written, column) == getattr(flushed, column), column
        assert session.scalars(select(JobEvent.data)).all() == [{"status": "queued"}]


def test_rows_of_several_tables_are_one_statement_where_that_can_be_said(each_engine, sessions):
    said = []
    event.listen(each_engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    with unit_of_work(sessions) as session:
        message = OutboxMessage(job_id="job_a", queue="gpu", created_at=now())
        insert(session, queued("job_a"), first("job_a"), message)
    inserted = [statement for statement in said if "INSERT" in statement]
    assert len(inserted) == {"sqlite": 3, "postgresql": 1}[each_engine.dialect.name]


def test_all_or_none_is_written(sessions):
    with pytest.raises(IntegrityError), unit_of_work(sessions) as session:
        insert(session, queued("job_a"), first("job_of_nobody"))
    with reading(sessions) as session:
        assert session.scalars(select(Job.id)).all() == []


def test_a_row_of_somebody_else_is_refused(sessions):
    refused = pytest.raises(AssertionError, match="somebody else")
    with refused, unit_of_work(bound(sessions, "tnt_other")) as session:
        insert(session, queued("job_a"))
