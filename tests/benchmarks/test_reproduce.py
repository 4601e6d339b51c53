"""Every cell of the paper's tables is a job that could be submitted."""

import pytest

from benchmarks.reproduce.cells import Cell, Job
from benchmarks.reproduce.results import key_of, runs_of
from benchmarks.reproduce.tables import TABLES
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.resolve import resolve


@pytest.mark.parametrize("scale", ["cpu", "paper"])
@pytest.mark.parametrize("name", TABLES)
def test_every_job_resolves(name, scale):
    facts = load_catalog().datasets["cifar10"]
    for job in TABLES[name].jobs():
        spec = resolve(JobRequest.model_validate(job.request("cifar10", scale)), facts)
        assert spec.images_per_class == job.images_per_class
        assert tuple(job.labels) == tuple(own.name for own in spec.privileged)


@pytest.mark.parametrize("name", TABLES)
def test_no_two_cells_stand_in_one_place(name):
    cells = TABLES[name].cells
    assert len({(cell.row, cell.column) for cell in cells}) == len(cells)


def test_the_paper_reaches_other_settings_than_a_cpu():
    job = Job("dc", 1, {"feature": {"preset": "published"}})
    assert key_of(job, "cifar10", "cpu") != key_of(job, "cifar10", "paper")
    assert job.request("cifar10", "paper")["options"]["base"] == {}


def test_a_cell_reads_its_own_arm_and_student():
    job = Job("random", 1, students=("MLP", "LeNet"))
    arms = [
        {"name": name, "network": network, "runs": [accuracy]}
        for accuracy, (name, network) in enumerate(
            (name, network) for name in ("random", "base") for network in ("MLP", "LeNet")
        )
    ]
    jobs = {key_of(job, "cifar10", "cpu"): {"report": {"arms": arms}}}
    found = {"dataset": "cifar10", "scale": "cpu", "jobs": jobs}
    assert runs_of(Cell("r", "c", job, "base", "LeNet"), found) == [3]
    assert runs_of(Cell("r", "c", job, "random"), found) == [0]
    assert runs_of(Cell("r", "c", job, "privileged"), found) is None
    assert runs_of(Cell("r", "c", Job("random", 2)), found) is None
