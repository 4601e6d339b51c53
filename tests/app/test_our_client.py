"""The typed answers of our client, against the service itself."""

import pytest

from app.condensed.schemas import CondensedRead
from app.datasets.schemas import DatasetRead
from app.jobs import leases
from app.jobs.schemas import AttemptRead, JobProgress, JobRead, JobResult
from app.kit.db import unit_of_work
from dcpi_core.cli.sources import Origin, prepare
from dcpi_core.cli.uploading import uploaded
from dcpi_core.client import models
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import Conflict, NotFound
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve
from tests.app.conftest import FOUR_WORDS
from tests.core.cli.conftest import write_pictures


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (models.Job, JobRead),
        (models.JobProgress, JobProgress),
        (models.JobResult, JobResult),
        (models.Attempt, AttemptRead),
        (models.Condensed, CondensedRead),
        (models.Dataset, DatasetRead),
    ],
)
def test_no_field_of_an_answer_is_hidden(ours, theirs):
    assert set(theirs.model_fields) - {"object"} <= set(ours.model_fields)


def test_a_job_with_its_place_spec_and_cost(dcpi):
    dcpi.jobs.create(FOUR_WORDS)
    job = dcpi.jobs.create(FOUR_WORDS | {"seed": 1})
    facts = load_catalog().datasets["digits"]
    assert job.spec == resolve(JobRequest(**FOUR_WORDS, seed=1), facts)
    assert (job.num_images, job.queue_ahead, job.attempt) == (10, 1, 0)
    assert job.created_at.utcoffset() is not None
    assert dcpi.jobs.estimate(FOUR_WORDS) == job.estimate
    assert len(dcpi.jobs.list().data) == 2  # the estimate started nothing


def test_attempts(dcpi, state):
    job = dcpi.jobs.create(FOUR_WORDS)
    assert dcpi.jobs.attempts(job.id) == ()
    with unit_of_work(state.sessions) as session:
        leases.claim(session, job.id, "worker-1", 60)
    (attempt,) = dcpi.jobs.attempts(job.id)
    assert (attempt.number, attempt.worker, attempt.outcome) == (1, "worker-1", None)


def test_what_can_be_asked_for(dcpi):
    catalog = load_catalog()
    for part, known in (
        (dcpi.methods, catalog.methods),
        (dcpi.privileged_types, catalog.privileged_types),
        (dcpi.architectures, catalog.networks),
    ):
        assert [component.name for component in part.list().data] == list(known)
    assert dcpi.methods.get("dc").options_schema == catalog.methods["dc"].options_schema
    with pytest.raises(NotFound, match=r"'cd'.*herding"):
        dcpi.methods.get("cd")


def test_a_dataset_with_its_facts(dcpi):
    found = dcpi.datasets.get("digits")
    assert found.facts == load_catalog().datasets["digits"]
    assert (found.origin, found.num_classes) == ("published", 10)


def test_an_archive_is_uploaded_once_and_known_again(dcpi, tmp_path):
    archive = tmp_path / "pets.zip"
    write_pictures(archive)
    facts = prepare(Origin(archive, 32, cache=tmp_path), quiet=True).facts
    first = uploaded(dcpi, archive, facts, 32)
    assert uploaded(dcpi, archive, facts, 32) == first
    assert dcpi.datasets.get("pets").id == first
    otherwise = prepare(Origin(archive, 16, cache=tmp_path), quiet=True).facts
    with pytest.raises(Conflict, match="without --archive"):
        uploaded(dcpi, archive, otherwise, 16)
