"""``dcpi verify``: damaged files and untrue reports are told, and the record of a training kept."""

import json
import shutil

import pytest

from dcpi_core.bundle import load, write
from dcpi_core.spec.verification import Verification


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
        assert later.exit_code == 0  # the files are whole; what they say was found untrue
        assert "FAIL not reproduced" in later.stdout

    def test_a_record_about_another_bundle_is_not_shown(self, bundle, retrain, dcpi, tmp_path):
        record = tmp_path / "elsewhere.json"
        retrain(bundle, "--record", record)
        text = record.read_text()
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

    def test_nothing_is_trained_on_damaged_files(self, bundle, retrain):
        (bundle / "report.json").write_text("{}")
        assert retrain(bundle).exit_code == 1
        assert not bundle.with_name("bundle.verification.json").exists()
