"""``dcpi verify``: damaged files and untrue reports are told, and the record of a training kept."""

import json
import shutil

import httpx
import pytest

from dcpi_core.bundle import load, write
from dcpi_core.client import Client
from dcpi_core.spec.report import Arm, Environment
from dcpi_core.spec.verification import ArmVerification, Unverified, Verification


class TestFiles:
    def test_intact(self, made, dcpi):
        done = dcpi("verify", made[0])
        assert done.exit_code == 0
        assert "ok   data.safetensors" in done.stdout

    def test_damaged(self, made, dcpi, tmp_path):
        copy = shutil.copytree(made[0], tmp_path / "copy")
        (copy / "report.json").write_text("{}")
        done = dcpi("verify", copy)
        assert done.exit_code == 1
        assert "FAIL report.json" in done.stdout
        answer = json.loads(dcpi("verify", copy, "--json").stdout)
        assert not answer["passed"]
        assert {c["name"] for c in answer["checks"] if not c["passed"]} >= {"report.json"}

    @pytest.mark.parametrize(
        "options", [["--repeats", "50"], ["--device", "nonsense"], ["--data-root", "/tmp"]]
    )
    def test_options_of_a_training_need_one(self, made, dcpi, options):
        done = dcpi("verify", made[0], *options)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "without --retrain nothing is trained" in done.stderr

    def test_a_record_that_is_not_there_is_told(self, made, dcpi, tmp_path):
        done = dcpi("verify", made[0], "--record", tmp_path / "none.json")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "none.json'; --retrain makes one" in done.stderr

    def test_nothing_there(self, dcpi, tmp_path):
        assert dcpi("verify", tmp_path / "nowhere").exit_code == 1


class TestRetraining:
    @pytest.fixture
    def retrain(self, dcpi, cache):
        def run(path, *options):
            given = ["--retrain", "--cache", cache, "--device", "cpu", *options]
            return dcpi("verify", path, *given)

        return run

    @pytest.fixture
    def bundle(self, made, tmp_path):
        return shutil.copytree(made[0], tmp_path / "bundle")

    def test_a_true_report_is_reproduced(self, bundle, retrain, dcpi):
        before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
        done = retrain(bundle)
        assert done.exit_code == 0, done.output
        assert "ok   reproduced: " in done.stdout
        record = bundle.with_name("bundle.verification.json")
        found, loaded = Verification.model_validate_json(record.read_bytes()), load(bundle)
        assert found.bundle == loaded.manifest.id
        assert found.seeds == loaded.report.seeds
        (arm,) = found.arms
        assert (arm.arm, arm.reported) == ("base", loaded.report.arm("base").runs)
        assert arm.measured == pytest.approx(arm.reported, abs=0.01)
        assert [other.arm for other in found.unverified] == ["random"]
        assert arm.tolerance == pytest.approx(0.03)  # of a single run
        assert found.environment.machine
        after = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
        assert after == before
        later = json.loads(dcpi("verify", bundle, "--json").stdout)
        assert later["verification"]["verdict"] == "reproduced"

    def test_an_untrue_report_is_not(self, bundle, retrain, dcpi):
        loaded = load(bundle)
        arms = [
            arm.model_copy(update={"runs": (0.99,)}) if arm.name == "base" else arm
            for arm in loaded.report.arms
        ]
        untrue = loaded.report.model_copy(update={"arms": tuple(arms)})
        shutil.rmtree(bundle)
        write(bundle, loaded.condensed, loaded.spec, untrue)
        done = retrain(bundle)
        assert done.exit_code == 1
        assert "FAIL not reproduced" in done.stdout
        assert "reported 99.0 (n=1) %" in done.stdout
        later = dcpi("verify", bundle)
        assert later.exit_code == 1  # the files are whole; what they say was found untrue
        assert "FAIL not reproduced" in later.stdout

    def test_a_record_about_another_bundle_is_not_shown(self, bundle, retrain, dcpi, tmp_path):
        record = tmp_path / "elsewhere.json"
        retrain(bundle, "--record", record)
        text = record.read_text()
        shown = dcpi("verify", bundle, "--record", record)
        assert "ok   reproduced" in shown.stdout
        other = Verification.model_validate_json(text).model_copy(
            update={"manifest_sha256": "0" * 64}
        )
        bundle.with_name("bundle.verification.json").write_text(other.model_dump_json())
        done = dcpi("verify", bundle)
        assert "about another bundle" in done.stderr
        assert "reproduced" not in done.stdout

    def test_no_more_students_than_the_report_has(self, bundle, retrain):
        done = retrain(bundle, "--repeats", "2")
        assert done.exit_code == 2
        assert "repeats must be 1 to 1" in done.stderr

    def test_nothing_is_trained_where_the_record_has_no_place(self, bundle, retrain, monkeypatch):
        monkeypatch.setattr("dcpi_core.cli.verifying._train_again", None)
        done = retrain(bundle, "--record", bundle.parent / "nodir" / "record.json")
        assert (done.exit_code, "nodir' for 'record.json'" in done.stderr) == (2, True)

    def test_nothing_is_trained_on_damaged_files(self, bundle, retrain):
        (bundle / "report.json").write_text("{}")
        assert retrain(bundle).exit_code == 1
        assert not bundle.with_name("bundle.verification.json").exists()


class Service:
    """Takes a verification and has it done at the third look at its job."""

    def __init__(self, record: dict | None) -> None:
        self.record = record
        self.bodies: list[dict] = []
        self.looks = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        verification = {"id": "ver_1", "condensed_id": "cds_1", "job_id": "job_1", "repeats": 1}
        if request.method == "POST" and path == "/condensed/cds_1/verifications":
            self.bodies.append(json.loads(request.read()))
            return httpx.Response(202, json=verification | {"status": "queued"})
        if path == "/jobs/job_1":
            self.looks += 1
            return httpx.Response(200, json={"id": "job_1"} | self.job())
        if path == "/condensed/cds_1/verifications/ver_1":
            return httpx.Response(200, json=verification | self.ended())
        if path == "/condensed/cds_1/verifications":
            other = verification | {"id": "ver_2", "job_id": "job_2", "status": "queued"}
            return httpx.Response(200, json={"data": [other, verification | self.ended()]})
        return httpx.Response(404, json={"code": "not_found", "detail": f"no {path}"})

    def job(self) -> dict:
        if self.looks < 3:
            progress = {"phase": "evaluate", "step": 1, "total_steps": 2}
            return {"status": "running", "phase": "evaluate", "progress": progress}
        if self.record is not None:
            own = "/v1/condensed/cds_1"
            urls = {"condensed": own, "verifications": f"{own}/verifications"}
            return {"status": "succeeded", "kind": "verify", "urls": urls}
        return {"status": "failed", "error": {"code": "x", "detail": "no test images"}}

    def ended(self) -> dict:
        if self.record is None:
            return {"status": "failed"}
        passed = self.record["verdict"] == "reproduced"
        outcome = "passed" if passed else "failed"
        return {"status": "succeeded", "record": self.record, "outcome": outcome}


class TestAtTheService:
    @pytest.fixture
    def at(self, dcpi, monkeypatch):
        """A command at this service."""

        def run(service, *command):
            def client(server, *, api_key=None):
                return Client(server, api_key=api_key, transport=httpx.MockTransport(service))

            monkeypatch.setattr("dcpi_core.cli.verifying.Client", client)
            monkeypatch.setattr("dcpi_core.cli.remote.Client", client)
            monkeypatch.setattr("dcpi_core.client.transport.time.sleep", lambda _: None)
            return dcpi(*command)

        return run

    @pytest.fixture
    def ask(self, at):
        """``dcpi verify cds_1 --remote`` at this service."""
        return lambda service, *options: at(service, "verify", "cds_1", "--remote", *options)

    @pytest.mark.parametrize(("measured", "status"), [(0.5, 0), (0.9, 1)])
    def test_it_is_watched_from_elsewhere(self, at, measured, status):
        done = at(Service(a_record(measured)), "watch", "job_1", "--server", "http://dcpi.test")
        assert done.exit_code == status, done.output
        assert "reproduced: base, ConvNetD2" in done.stdout
        where = "http://dcpi.test/v1/condensed/cds_1/verifications/ver_1"
        assert f"record: {where}" in done.stdout

    def test_it_waits_and_shows_every_arm(self, ask):
        service = Service(a_record(0.5))
        done = ask(service, "--repeats", "1")
        assert done.exit_code == 0, done.output
        assert service.bodies == [{"repeats": 1}]
        assert "evaluate 1/2" in done.stderr
        assert "ok   reproduced: base, ConvNetD2: 50.0 (n=1) %" in done.stdout
        assert "not verified: random" in done.stdout

    def test_an_untrue_report_is_a_failure(self, ask):
        done = ask(Service(a_record(0.9)))
        assert done.exit_code == 1
        assert "FAIL not reproduced: base" in done.stdout

    def test_a_damaged_file_is_named(self, ask):
        damage = {"name": "data.safetensors", "detail": "does not match its sha256"}
        record = a_record(0.5) | {"verdict": "damaged", "arms": [], "failed_checks": [damage]}
        done = ask(Service(record))
        assert done.exit_code == 1
        assert "FAIL data.safetensors: does not match its sha256" in done.stdout

    def test_a_job_that_failed_is_told(self, ask):
        done = ask(Service(None))
        assert done.exit_code == 1
        assert "error: job job_1 failed: no test images" in done.stderr

    def test_as_json(self, ask):
        assert json.loads(ask(Service(a_record(0.5)), "--json").stdout)["outcome"] == "passed"

    @pytest.mark.parametrize(
        "options", [["--data-root", "/tmp"], ["--device", "cpu"], ["--retrain"]]
    )
    def test_what_only_works_here_is_refused(self, ask, options):
        service = Service(a_record(0.5))
        done = ask(service, *options)
        assert (done.exit_code, service.bodies) == (2, [])
        assert "leave out --retrain, --device, --record, --test" in done.stderr


def a_record(measured: float) -> dict:
    """Of a report that says 0.5, as a service has it."""
    environment = {"dcpi": "0", "python": "3", "torch": "2", "machine": "m", "device": "cpu"}
    arm = Arm(
        name="base",
        title="random",
        network="ConvNetD2",
        num_images=10,
        train_bytes=1,
        runs=(0.5,),
        per_class=(0.5,),
    )
    found = ArmVerification.of(arm, (measured,))
    return Verification(
        bundle="cds_1",
        manifest_sha256="0" * 64,
        created_at="2026-11-21T12:00:00+00:00",
        environment=Environment(**environment, threads=1, engine="e"),
        protocol="dc",
        epochs=1,
        seeds=(1,),
        arms=(found,),
        unverified=(Unverified(arm="random", network="ConvNetD2", reason="drawn"),),
        verdict=found.verdict,
    ).model_dump(mode="json")
