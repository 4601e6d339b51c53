"""Commands that work on this machine alone."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from dcpi_core.bundle import load
from dcpi_core.cli import screen
from dcpi_core.spec.progress import Phase
from tests.core.cli.conftest import TINY, write_pictures


class TestCondense:
    def test_makes_a_bundle_and_shows_the_table(self, made):
        out, done = made
        report = load(out).report
        assert [arm.name for arm in report.arms] == ["random", "base"]
        assert "against base" in done.stdout
        assert f"{100 * report.arms[1].mean:.1f} (n=1)" in done.stdout
        assert "evaluate" in done.stderr
        assert "evaluate" not in done.stdout
        assert not out.with_name("bundle.work").exists()

    def test_the_spec_inside_makes_the_same_data(self, made, dcpi, cache, tmp_path):
        out, _ = made
        again = tmp_path / "again"
        spec = out / "spec.json"
        done = dcpi("condense", spec, "--cache", cache, "--out", again, "--device", "cpu", "--json")
        assert done.exit_code == 0
        assert json.loads(done.stdout)["report"]["arms"][0]["name"] == "random"
        for name in ("data.safetensors", "spec.json", "train.py", "previews/grid.png"):
            assert (again / name).read_bytes() == (out / name).read_bytes(), name

    def test_interrupted_and_continued(self, made, dcpi, cache, tmp_path, monkeypatch):
        show, interrupts = screen.PhaseBars.__call__, []

        def interrupt_once(self, progress):
            show(self, progress)
            if progress.phase is Phase.BASE and not interrupts:
                interrupts.append(progress.step)
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(screen.PhaseBars, "__call__", interrupt_once)
        before = signal.getsignal(signal.SIGINT)
        out = tmp_path / "bundle"
        command = ["condense", *TINY, "--cache", cache, "--out", out, "--device", "cpu"]
        stopped = dcpi(*command)
        assert stopped.exit_code == 130
        assert "the same command continues" in stopped.stderr
        assert signal.getsignal(signal.SIGINT) is before
        assert not out.exists()
        assert (tmp_path / "bundle.work" / "checkpoint.safetensors").exists()
        (tmp_path / "bundle.work" / ".checkpoint.safetensors.0f.tmp").touch()  # as if killed
        assert dcpi(*command).exit_code == 0
        whole = (made[0] / "data.safetensors").read_bytes()
        assert (out / "data.safetensors").read_bytes() == whole

    def test_a_directory_with_content_is_left_alone(self, dcpi, tmp_path):
        (tmp_path / "mine.txt").write_text("precious")
        done = dcpi("condense", *TINY, "--out", tmp_path)
        assert done.exit_code == 2
        assert "exists already" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_work_directory_of_the_users_is_left_alone(self, dcpi, tmp_path):
        work = tmp_path / "out.work"
        work.mkdir()
        (work / "checkpoint.safetensors").write_text("of some other program")
        (work / "precious.txt").write_text("precious")
        done = dcpi("condense", *TINY, "--out", tmp_path / "out")
        assert done.exit_code == 2
        assert "holds 'precious.txt'" in done.stderr
        assert (work / "precious.txt").read_text() == "precious"

    def test_what_is_kept_for_later_jobs_has_a_limit(self, dcpi, tmp_path, monkeypatch):
        limits = []
        monkeypatch.setattr("dcpi_core.cli.offline.prune_assets", limits.append)
        given = ["--cache", tmp_path / "cache", "--device", "cpu"]
        assert dcpi("condense", *TINY, *given, "--out", tmp_path / "out").exit_code == 0
        assert limits == [tmp_path / "cache" / "assets"]
        assert list(limits[0].rglob("*.*"))  # it is where they are

    def test_the_current_directory_is_not_replaced(self, dcpi, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for out in (".", tmp_path):
            done = dcpi("condense", *TINY, "--out", out)
            assert (done.exit_code, "current directory" in done.stderr) == (2, True)

    def test_own_images(self, dcpi, cache, tmp_path):
        archive = tmp_path / "my pets.zip"
        write_pictures(archive)
        out, given = tmp_path / "bundle", ["--archive", archive, "--cache", cache]
        options = [*TINY[2:], *given, "--out", out, "--device", "cpu"]
        assert dcpi("condense", *options).exit_code == 0
        assert load(out).manifest.source.dataset == "my-pets"
        # Without the archive nobody knows the test images.
        refused = dcpi("train", out, "--cache", cache)
        assert (refused.exit_code, "--archive" in refused.stderr) == (2, True)
        assert dcpi("train", out, *given, "--device", "cpu").exit_code == 0

    def test_a_spec_of_other_images_is_refused(self, made, dcpi, cache, tmp_path):
        archive = tmp_path / "pets.zip"
        write_pictures(archive)
        given = [made[0] / "spec.json", "--archive", archive, "--cache", cache]
        done = dcpi("condense", *given, "--out", tmp_path / "out")
        assert (done.exit_code, "name 'pets', not 'digits'" in done.stderr) == (2, True)

    def test_own_images_whose_file_names_nothing(self, dcpi, cache, tmp_path):
        archive, out = tmp_path / "\N{CAT FACE}.zip", tmp_path / "bundle"
        write_pictures(archive)
        given = ["--archive", archive, "--cache", cache]
        called = ["--dataset", "cats", *TINY[2:], "--out", out, "--device", "cpu"]
        assert dcpi("condense", *given, *called).exit_code == 0
        before = set((cache / "archives").iterdir())
        done = dcpi("train", out, *given, "--device", "cpu")
        assert done.exit_code == 0, done.output
        for number, name in enumerate((["cats"], [])):
            done = dcpi("test-data", *name, *given, "--out", tmp_path / "test.npz")
            assert done.exit_code == 0, done.output
            # What was prepared for the bundle has its name; without one it is prepared anew.
            assert len(set((cache / "archives").iterdir()) - before) == number

    def test_the_commands_on_the_card_of_own_images_work(self, dcpi, cache, tmp_path):
        archive, bundle, again = (tmp_path / name for name in ("pets.zip", "bundle", "again"))
        write_pictures(archive)  # of 16 x 16
        options = [*TINY[2:], "--archive", archive, "--image-size", "8", "--out", bundle]
        assert dcpi("condense", *options, "--cache", cache, "--device", "cpu").exit_code == 0
        card = (bundle / "README.md").read_text()
        places = {"FILE": archive, "DIR": again, "SEED": 0, "spec.json": bundle / "spec.json"}
        places |= {name: tmp_path / name for name in ("test.npz", "pets.safetensors")}

        def on_card(beginning: str) -> list[object]:
            (found,) = re.findall(f"`{beginning} ([^`]*)`", card)
            return [places.get(word, word) for word in found.split()]

        done = dcpi("condense", *on_card("dcpi condense"), "--cache", cache, "--device", "cpu")
        assert done.exit_code == 0, done.output
        assert load(again).manifest.id == load(bundle).manifest.id
        assert dcpi("test-data", *on_card("dcpi test-data"), "--cache", cache).exit_code == 0
        python = on_card("python -m dcpi_core.datasets.archive")
        subprocess.run(
            [sys.executable, "-m", "dcpi_core.datasets.archive", *map(str, python)], check=True
        )
        told = []
        for name in ("test.npz", "pets.safetensors"):
            done = dcpi("train", bundle, "--test", tmp_path / name, "--device", "cpu", "--json")
            told.append(json.loads(done.stdout)["runs"])
        assert told[0] == told[1]


class TestTrain:
    def test_reaches_the_report(self, made, dcpi, cache):
        out, _ = made
        done = dcpi("train", out, "--cache", cache, "--device", "cpu", "--json")
        runs = json.loads(done.stdout)["runs"]
        reported = load(out).report.arm("base").runs
        assert runs == pytest.approx(reported, abs=0.01)

    def test_further_students_have_further_seeds(self, made, dcpi, cache):
        options = ["--repeats", "3", "--network", "MLP", "--cache", cache, "--device", "cpu"]
        found = json.loads(dcpi("train", made[0], *options, "--json").stdout)
        (reported,) = load(made[0]).report.seeds
        assert found["seeds"] == [reported, reported + 1, reported + 2]
        assert len(found["runs"]) == 3

    def test_table_and_other_network(self, made, dcpi, cache):
        options = ["--network", "MLP", "--repeats", "2", "--cache", cache, "--device", "cpu"]
        done = dcpi("train", made[0], *options)
        assert done.exit_code == 0
        assert "this bundle, trained now" in done.stdout
        assert "(n=2)" in done.stdout
        assert "MLP" in done.stdout

    def test_test_file_of_another_dataset(self, made, dcpi, tmp_path):
        path = tmp_path / "test.npz"
        images = np.zeros((5, 3, 32, 32), np.uint8)
        np.savez(path, images=images, labels=np.zeros(5, np.int64))
        done = dcpi("train", made[0], "--test", path)
        assert done.exit_code == 2
        assert "[355, 1, 8, 8]" in done.stderr

    @pytest.mark.parametrize("content", [b"", b"words", b"PK\3\4 and no more", b"PK\5\6" * 9])
    def test_files_that_are_no_test_images(self, made, dcpi, tmp_path, content):
        for name in ("test.npz", "test.safetensors"):
            (tmp_path / name).write_bytes(content)
            done = dcpi("train", made[0], "--test", tmp_path / name)
            assert (done.exit_code, "holds no test images" in done.stderr) == (2, True)


class TestTestData:
    def test_the_split_as_npz(self, dcpi, tmp_path):
        path = tmp_path / "test.npz"
        assert dcpi("test-data", "digits", "--out", path).exit_code == 0
        with np.load(path, allow_pickle=False) as found:
            assert found["images"].shape == (355, 1, 8, 8)
            assert found["images"].dtype == np.uint8
            assert found["labels"].dtype == np.int64

    def test_any_name_will_do(self, made, dcpi, tmp_path):
        path = tmp_path / "digits_test"
        assert dcpi("test-data", "digits", "--out", path).exit_code == 0
        done = dcpi("train", made[0], "--test", path, "--device", "cpu")
        assert done.exit_code == 0, done.output

    def test_nothing_is_read_for_a_file_without_a_place(self, dcpi, tmp_path, monkeypatch):
        monkeypatch.setattr("dcpi_core.cli.sources.read_source", None)
        done = dcpi("test-data", "digits", "--out", tmp_path / "nodir" / "test.npz")
        assert (done.exit_code, "nodir' for 'test.npz'" in done.stderr) == (2, True)
        assert dcpi("test-data", "digits", "--out", tmp_path).exit_code == 2

    def test_without_a_name(self, dcpi):
        assert "--archive" in dcpi("test-data").stderr


class TestEstimate:
    def test_lines(self, dcpi):
        done = dcpi("estimate", *TINY)
        assert done.exit_code == 0
        assert "10 (1 per class, 0.693 % of the training set)" in done.stdout

    def test_json(self, dcpi):
        found = json.loads(dcpi("estimate", *TINY, "--json").stdout)
        assert found["bytes"]["images"] == 10 * 64 * 4


class TestServe:
    def test_passes_options_on(self, dcpi, monkeypatch):
        called = []
        monkeypatch.setattr(os, "execv", lambda *a: called.append(a))
        dcpi("serve", "--port", "9000", "--whatever")
        assert called[0][1][1:] == ["-m", "worker.local", "--port", "9000", "--whatever"]
