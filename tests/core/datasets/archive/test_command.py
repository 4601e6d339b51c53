import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from dcpi_core.datasets import load_prepared
from dcpi_core.datasets.archive import inspect_archive

COMMAND = [sys.executable, "-m", "dcpi_core.datasets.archive", "inspect"]


@pytest.fixture
def command(root, tmp_path):
    """Run the command on an archive; returns the exit status and what it printed as JSON."""

    def run(archive, *arguments):
        out = ["--name", "pets", "--out", str(tmp_path / "out")]
        done = subprocess.run(
            [*COMMAND, archive, *out, *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.count("\n") == 1, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_facts_are_printed(make, command, tmp_path):
    path = make.archive(tmp_path / "pets.tar.xz", "tar.xz", make.folders(splits=("",), count=10))
    status, answer = command(path, "--seed", "3", "--image-size", "16", "--test-fraction", "0.3")
    assert status == 0
    expected = inspect_archive(
        str(path), "pets", str(tmp_path / "other"), seed=3, image_size=16, test_fraction=0.3
    )
    assert answer == {"facts": expected.model_dump(mode="json")}
    assert load_prepared(tmp_path / "out").facts == expected


def test_a_refusal_is_printed(command, tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    status, answer = command(tmp_path / "x")
    assert status == 2
    (problem,) = answer["error"]["problems"]
    assert (problem["pointer"], problem["code"]) == ("/file", "invalid_archive")
    assert answer["error"]["code"] == "invalid_archive"
    assert answer["error"]["detail"] == problem["message"]


@pytest.mark.parametrize("arguments", [["--what"], ["--seed", "x"], ["--seed", "-1"]])
def test_a_wrong_command_line_is_a_refusal(make, command, tmp_path, arguments):
    status, answer = command(make.zip(tmp_path / "x", []), *arguments)
    assert (status, answer["error"]["code"]) == (2, "invalid_input")


def test_anything_unexpected_is_an_internal_error(command, tmp_path):
    status, answer = command(tmp_path / "absent")
    assert (status, answer["error"]["code"]) == (3, "internal_error")


def test_memory_is_limited(make, command, tmp_path):
    large = make.encode(np.zeros((4000, 4000, 3), dtype=np.uint8), compress_level=1)
    files = {f"{s}/{c}/1.png": large for s in ("train", "test") for c in "ab"}
    path = make.archive(tmp_path / "x", "zip", files)
    status, answer = command(path, "--max-memory-mb", "30")
    assert (status, answer["error"]["code"]) == (2, "invalid_archive")
    assert "more than the 30 MB allowed" in answer["error"]["detail"]
    assert not (tmp_path / "out").exists()


def test_time_is_limited(make, command, tmp_path):
    large = make.encode(np.zeros((4000, 4000), dtype=np.uint8), compress_level=1)
    names = [f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "ab" for n in range(25)]
    path = make.archive(tmp_path / "x", "zip", dict.fromkeys(names, large))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    status, answer = command(path, "--max-seconds", "1")
    assert (status, answer["error"]["code"]) == (2, "invalid_archive")
    assert "more than the 1 s allowed" in answer["error"]["detail"]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x"]


def test_importing_is_quick(root):
    """Best of three, since other processes may hold the cores."""
    probe = (
        "import time; start = time.process_time(); import dcpi_core.datasets.archive.__main__;"
        "print(time.process_time() - start)"
    )
    command = [sys.executable, "-c", probe]
    seconds = [
        float(subprocess.run(command, cwd=root, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 1.0
