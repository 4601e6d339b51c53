"""Jobs from their submission to the verified bundle, through every process in between."""

import zipfile
from io import BytesIO

import httpx
import pytest
from PIL import Image

from dcpi_core import bundle
from dcpi_core.client import Client
from tests.end_to_end.stack import TINIEST, TINY, statuses, steps, succeeded
from worker import demo


@pytest.fixture(params=["embedded", "servers"])
def address(request):
    service = request.getfixturevalue(request.param)
    if request.param == "servers":
        service.use_workers(1)
    return service.address


def test_submit_run_download(address, tmp_path):
    with Client(address) as client:
        job = succeeded(client, client.jobs.create(TINY))
        assert statuses(client, job.id) == ["queued", "running", "succeeded"]
        for phase in ("base", "evaluate", "package"):
            assert steps(client, job.id, phase), phase
        condensed = job.result.condensed_id
        directory = client.condensed.download(condensed, tmp_path / "bundle")
        report = client.condensed.report(condensed)
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(httpx.get(f"{address}/v1/condensed/{condensed}/archive").content)
    for path in (directory, archive):
        failed = [check for check in bundle.verify(path) if not check.passed]
        assert failed == []
    loaded = bundle.load(directory)
    assert loaded.condensed.images.shape == (10, 1, 8, 8)
    assert [labels.kind for labels in loaded.condensed.privileged] == ["feature"]
    assert loaded.report == report
    assert [arm.name for arm in report.arms] == ["random", "base", "privileged", "equal_bytes"]
    assert all(arm.n == 2 for arm in report.arms)


def test_the_demo_shows_a_result(embedded, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(demo.REQUEST, "options", TINY["options"])
    better = demo.run(embedded.address, tmp_path / "demo")
    shown = capsys.readouterr().out
    assert "10 images" in shown
    assert "dc + feature labels" in shown
    assert str(tmp_path / "demo" / "previews" / "grid.png") in shown
    first = bundle.load(tmp_path / "demo")
    assert better == demo.beats_random(first.report)
    monkeypatch.setitem(demo.REQUEST, "seed", 1)
    demo.run(embedded.address, tmp_path / "demo")
    assert bundle.load(tmp_path / "demo").manifest.files != first.manifest.files
    assert [path.name for path in tmp_path.glob("*demo*")] == ["demo"]
    (tmp_path / "demo" / "notes.txt").write_text("precious")
    assert not demo.run(embedded.address, tmp_path / "demo")
    assert "'notes.txt'" in capsys.readouterr().err
    assert bundle.load(tmp_path / "demo").manifest.files != first.manifest.files


def test_an_upload_is_condensed(servers, tmp_path):
    servers.use_workers(1)
    with servers.client() as client:
        dataset = client.datasets.upload(archive_of_shades(tmp_path / "shades.zip"), name="shades")
        job = succeeded(client, client.jobs.create(TINIEST | {"dataset": dataset.id}))
        directory = client.condensed.download(job.result.condensed_id, tmp_path / "bundle")
    loaded = bundle.load(directory)
    assert loaded.manifest.task.classes == ("dark", "light")
    assert loaded.condensed.images.shape == (2, 3, 16, 16)


def test_a_result_is_verified(servers):
    servers.use_workers(1)
    with servers.client() as client:
        made = succeeded(client, client.jobs.create(TINY)).result.condensed_id
        asked = client.condensed.verify(made)
        done = client.jobs.wait(asked.job_id, timeout=120)
        assert (done.status, done.result) == ("succeeded", None), done.error
        assert statuses(client, asked.job_id) == ["queued", "running", "succeeded"]
        found = client.condensed.verifications(made).get(asked.id)
        assert (found.outcome, client.condensed.get(made).verified.outcome) == ("passed", "passed")
        reported = client.condensed.report(made)
    assert {arm.arm for arm in found.record.arms} == {"base", "privileged"}
    for arm in found.record.arms:
        assert arm.reported == reported.arm(arm.arm).runs
    badge = httpx.get(f"{servers.address}/v1/condensed/{made}/badge.svg")
    assert (badge.status_code, "passed" in badge.text) == (200, True)


def test_a_dataset_that_the_worker_lacks_fails_with_advice(servers):
    servers.use_workers(1)
    with servers.client() as client:
        job = client.jobs.wait(client.jobs.create(TINIEST | {"dataset": "cifar10"}).id, timeout=60)
    assert (job.status, job.error.code) == ("failed", "dataset_unavailable")
    for advice in ("cifar-10-python.tar.gz", str(servers.settings.data_root), "DCPI_DATA_ROOT"):
        assert advice in job.error.detail


def archive_of_shades(path):
    """Two classes of plain pictures, dark and light."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, shade in (("dark", 20), ("light", 200)):
            for number in range(12):
                file = BytesIO()
                Image.new("RGB", (16, 16), (shade + number,) * 3).save(file, "PNG")
                archive.writestr(f"{name}/{number}.png", file.getvalue())
    return path
