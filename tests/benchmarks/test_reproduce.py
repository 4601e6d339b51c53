"""Every cell of the paper's tables is a job that could be submitted."""

from dataclasses import replace

import pytest

from benchmarks import results_page
from benchmarks.reproduce.__main__ import JPEG, spec_of
from benchmarks.reproduce.cells import Cell, Job, Table
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


def test_an_archive_of_cifar10_has_the_settings_of_cifar10():
    published = load_catalog().datasets["cifar10"]
    archive = published.model_copy(update={"name": JPEG})
    job = Job("dc", 1, {"feature": {"preset": "published"}})
    assert spec_of(job, "cpu", archive).privileged == spec_of(job, "cpu", published).privileged
    assert spec_of(job, "cpu", archive).privileged[0].options["regression_weight"] == 1.5


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


def test_a_table_of_several_syntheses_runs_the_first_one_whole_and_first():
    table = replace(TABLES["best"], seeds=(0, 7))
    jobs = list(table.jobs())
    first, second = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]
    assert {job.seed for job in first} == {0}
    assert [replace(job, seed=7) for job in first] == second
    assert len({key_of(job, "cifar10", "cpu") for job in jobs}) == len(jobs)


ALONE, LABELLED = Job("dc", 1), Job("dc", 1, {"feature": {}})


def page_of(runs):
    """The page of two rows with their runs, plain and labelled, by synthesis."""
    cells = (Cell("alone", "c", ALONE), Cell("labelled", "c", LABELLED, "privileged"))
    table = Table("T", "", cells, seeds=(0, 1, 2), gains=(("labelled", "alone"),))
    jobs = {}
    for seed, (base, privileged) in runs.items():
        for job, arm, own in ((ALONE, "base", base), (LABELLED, "privileged", privileged)):
            arms = [{"name": arm, "network": "ConvNetD3", "runs": own}]
            key = key_of(replace(job, seed=seed), "cifar10", "cpu")
            jobs[key] = {"report": {"arms": arms}}
    found = {"dataset": "cifar10", "scale": "cpu", "jobs": jobs}
    return "\n".join(results_page.reproduced(found, table))


def test_a_gain_is_the_mean_over_syntheses_with_its_standard_error():
    # Gains of 10 and 15 points.
    page = page_of({0: ([0.2, 0.3], [0.3, 0.4]), 1: ([0.1, 0.3], [0.3, 0.4])})
    assert "| alone | 22.50 +- 3.54, 2 x 2 |" in page
    assert "*labelled* over *alone*, c: +12.50 +- 2.50" in page


def test_a_gain_of_one_synthesis_has_the_error_of_its_pairs_of_students():
    page = page_of({0: ([0.2, 0.3], [0.28, 0.42])})  # gains of 8 and 12 points
    assert "| alone | 25.00 +- 7.07, n=2 |" in page
    assert "*labelled* over *alone*, c: +10.00 +- 2.00" in page
