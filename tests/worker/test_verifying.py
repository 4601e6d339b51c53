"""Verifications by a real child: published files are trained on again, beside their report."""

import shutil
from pathlib import Path

import pytest

from app.condensed import service as condensed
from app.condensed.registration import object_key
from app.jobs import control
from app.kit.db import unit_of_work
from app.kit.tenancy import bound
from app.models import DEFAULT_TENANT
from app.removal import service as removal
from app.verifications import service
from app.verifications.schemas import VerificationCreate, VerificationRead
from dcpi_core import bundle, pipeline
from dcpi_core.pipeline import Workplace
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import OutdatedCheckpoint
from dcpi_core.spec.job import JobSpec, JobSubmission
from dcpi_core.spec.progress import Stopped
from dcpi_core.spec.resolve import resolve
from worker.attempt import Patience
from worker.supervisor import Supervisor

REQUEST = {
    "dataset": "digits",
    "images_per_class": 1,
    "base_method": "random",
    "pi_type": "feature",
    "options": {
        "pi": {"feature": {"teacher_epochs": 1, "teacher_min_steps": 0}},
        "evaluation": {"repeats": 2, "epochs": 10, "controls": ["permuted", "other_view"]},
    },
}


@pytest.fixture(scope="session")
def true_bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("true")
    place = Workplace(folder / "work", folder / "assets")
    return pipeline.run(spec(), place, device="cpu")


def spec() -> JobSpec:
    facts = load_catalog().datasets["digits"]
    return resolve(JobSubmission.model_validate(REQUEST), facts)


@pytest.fixture
def publish(desk):
    """Publish a bundle by a job, as a worker does; returns the id of the condensed dataset."""

    def run(path: Path) -> str:
        shutil.copytree(path, desk.folder / "bundle")
        desk.run("finish", desk.submit(**REQUEST))
        (row,) = desk.condensed()
        return row.id

    return run


@pytest.fixture
def verify(desk):
    """Submit a verification and have a real child do it."""

    def run(condensed_id: str, **asked) -> VerificationRead:
        found = submit(desk, condensed_id, **asked)
        supervisor(desk).run(found.job_id)
        return look(desk, found)

    return run


def session_of(desk):
    return unit_of_work(bound(desk.tools.sessions, DEFAULT_TENANT))


def submit(desk, condensed_id: str, **asked) -> VerificationRead:
    body = VerificationCreate.model_validate(asked)
    with session_of(desk) as session:
        answer, _ = service.create(session, desk.tools.settings, condensed_id, body)
        return VerificationRead.model_validate(answer)


def supervisor(desk) -> Supervisor:
    return Supervisor(desk.tools, None, desk.stop, Patience(silent=60.0))


def look(desk, found: VerificationRead) -> VerificationRead:
    with session_of(desk) as session:
        return service.get(session, found.condensed_id, found.id)


def verified(desk, condensed_id: str):
    with session_of(desk) as session:
        return condensed.get(session, condensed_id).verified


def test_a_true_report_passes(desk, publish, verify, true_bundle):
    condensed_id = publish(true_bundle)
    assert verified(desk, condensed_id).outcome == "none"
    found = verify(condensed_id)
    assert (found.status, found.outcome, found.error) == ("succeeded", "passed", None)
    assert found.repeats == 2, "as many as the report has"
    record, report = found.record, bundle.load(true_bundle).report
    by_name = {arm.arm: arm for arm in record.arms}
    assert list(by_name) == ["base", "privileged", "permuted", "other_view"]
    for name, arm in by_name.items():
        assert arm.reported == report.arm(name).runs
        assert arm.measured == pytest.approx(arm.reported, abs=0.01), "by the same seeds"
        assert arm.tolerance >= 0.03
        assert arm.tolerance_reason.startswith("3 times ")
    assert [other.arm for other in record.unverified] == ["random"]
    assert record.unverified[0].reason == "its images are drawn from the source"
    seen = verified(desk, condensed_id)
    assert (seen.outcome, seen.n, seen.verification_id) == ("passed", 2, found.id)
    assert seen.verified_at == found.finished_at
    told = [event.data for event in desk.events(found.job_id, "status")]
    assert [data["status"] for data in told] == ["queued", "running", "succeeded"]
    assert told[-1]["verdict"] == "reproduced"
    progress = desk.events(found.job_id, "progress")
    assert progress[-1].data["step"] == progress[-1].data["total_steps"] == 8
    assert desk.workspaces() == []
    assert desk.objects("checkpoints") == []


def test_a_report_that_claims_more_fails_and_the_arm_is_named(
    publish, verify, true_bundle, tmp_path
):
    condensed_id = publish(claiming(true_bundle, tmp_path / "untrue", "privileged", 0.99))
    found = verify(condensed_id, repeats=1)
    assert (found.status, found.outcome) == ("succeeded", "failed")
    verdicts = {arm.arm: arm.verdict for arm in found.record.arms}
    assert verdicts == {
        "base": "reproduced",
        "privileged": "not reproduced",
        "permuted": "reproduced",
        "other_view": "reproduced",
    }
    (arm,) = (arm for arm in found.record.arms if arm.arm == "privileged")
    assert arm.reported_mean == pytest.approx(0.99)
    assert len(arm.measured) == 1
    assert arm.difference < -arm.tolerance


def claiming(path: Path, target: Path, name: str, accuracy: float) -> Path:
    """A bundle like this one, whole in itself, whose report says more of one arm."""
    loaded = bundle.load(path)
    arms = [
        arm.model_copy(update={"runs": (accuracy,) * arm.n}) if arm.name == name else arm
        for arm in loaded.report.arms
    ]
    untrue = loaded.report.model_copy(update={"arms": tuple(arms)})
    bundle.write(target, loaded.condensed, loaded.spec, untrue)
    return target


@pytest.mark.parametrize("lost", [False, True])
def test_damaged_files_fail_and_are_named(desk, publish, verify, true_bundle, tmp_path, lost):
    condensed_id = publish(true_bundle)
    key = object_key(condensed_id, "data.safetensors")
    if lost:
        desk.tools.storage.delete(key)
    else:
        content = bytearray((true_bundle / "data.safetensors").read_bytes())
        content[-1] ^= 1
        (tmp_path / "damaged").write_bytes(content)
        desk.tools.storage.put_file(key, tmp_path / "damaged")
    found = verify(condensed_id)
    assert (found.status, found.outcome, found.record.verdict) == ("succeeded", "failed", "damaged")
    failed = {check.name: check.detail for check in found.record.failed_checks}
    assert "data.safetensors" in failed
    assert ("missing" if lost else "does not match its sha256") in failed["data.safetensors"]
    assert "report.json" not in failed
    assert found.record.arms == ()
    assert (verified(desk, condensed_id).outcome, verified(desk, condensed_id).n) == (
        "failed",
        None,
    )


def test_another_bundle_in_the_place_of_the_published_one_fails(
    desk, publish, verify, true_bundle, tmp_path
):
    """One that is whole in itself: only the digest under which it was published tells."""
    condensed_id = publish(true_bundle)
    other = claiming(true_bundle, tmp_path / "other", "base", 0.5)
    for path in other.rglob("*"):
        if path.is_file():
            key = object_key(condensed_id, path.relative_to(other).as_posix())
            desk.tools.storage.put_file(key, path)
    found = verify(condensed_id)
    (failed,) = found.record.failed_checks
    assert (found.outcome, failed.name) == ("failed", "manifest.json")
    assert "is not the published one" in failed.detail


def test_a_paused_verification_goes_on_where_it_was(true_bundle, tmp_path, monkeypatch):
    from dcpi_core.compute import Runtime
    from dcpi_core.evaluation.verification import Watch, verify_by_training

    loaded, kept = bundle.load(true_bundle), tmp_path / "kept.safetensors"
    test = pipeline.read_source(loaded.spec, Workplace(tmp_path, tmp_path)).test
    steps: list[int] = []

    def watch(stop_at: int) -> Watch:
        return Watch(lambda p: steps.append(p.step), lambda: steps[-1] >= stop_at, kept)

    runtime = Runtime.choose("cpu", threads=1)
    with pytest.raises(Stopped):
        verify_by_training(true_bundle, loaded, test, runtime=runtime, watch=watch(3))
    assert steps == [0, 1, 2, 3]
    with monkeypatch.context() as other:
        other.setattr("dcpi_core.evaluation.verification.code_digest", lambda: "of another version")
        with pytest.raises(OutdatedCheckpoint):
            verify_by_training(true_bundle, loaded, test, runtime=runtime, watch=watch(99))
    steps.clear()
    whole = verify_by_training(true_bundle, loaded, test, runtime=runtime, watch=watch(99))
    assert steps == [3, 4, 5, 6, 7, 8], "three students were kept"
    assert whole.verdict == "reproduced"


def test_a_set_that_was_deleted_meanwhile_ends_its_verification(desk, publish, true_bundle):
    condensed_id = publish(true_bundle)
    found = submit(desk, condensed_id)
    with session_of(desk) as session:
        removal.delete_condensed(session, condensed_id)
    assert desk.job(found.job_id).status == "cancelled"
    desk.change(lambda session: control.retry(session, found.job_id, from_checkpoint=False))
    supervisor(desk).run(found.job_id)
    job = desk.job(found.job_id)
    assert (job.status, job.error_code) == ("failed", "not_found")
    assert "was deleted" in job.error_detail
