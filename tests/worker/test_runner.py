"""The child: what it says and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import DatasetUnavailable
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.progress import Phase, Progress, Stopped
from dcpi_core.spec.resolve import resolve
from worker import runner
from worker.protocol import (
    AliveLine,
    CondenseOrder,
    DoneLine,
    ErrorLine,
    Exit,
    LogLine,
    ProgressLine,
    parse_line,
)
from worker.runner import StopFlag, Voice


def order(folder: Path, **options) -> CondenseOrder:
    request = {"dataset": "digits", "images_per_class": 1, "base_method": "dc", "pi_type": "none"}
    options = {"base": {"iterations": 100_000}} | options
    spec = resolve(
        JobRequest.model_validate(request | {"options": options}),
        load_catalog().datasets["digits"],
    )
    return CondenseOrder(
        spec=spec, workspace=folder / "work", assets=folder / "assets", device="cpu"
    )


class Spoken:
    """What ``execute`` said, with a pipeline of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "spoken"

    def execute(self, monkeypatch, pipeline) -> Exit:
        monkeypatch.setattr(runner, "run", pipeline)
        with self.file.open("wb", buffering=0) as stream:
            voice = Voice(stream)
            return runner.execute(order(self.folder), voice, StopFlag(voice))

    @property
    def lines(self):
        return [parse_line(line) for line in self.file.read_bytes().splitlines()]


@pytest.fixture
def spoken(tmp_path):
    return Spoken(tmp_path)


def test_a_finished_pipeline(spoken, monkeypatch):
    def pipeline(spec, place, *, progress, stop, device, shrink):
        progress(Progress(Phase.BASE, 1, 2, "dc", {"loss": 0.5}))
        return place.workspace / "bundle"

    assert spoken.execute(monkeypatch, pipeline) == Exit.DONE == 0
    assert spoken.lines == [
        ProgressLine(phase="base", step=1, total_steps=2, message="dc", metrics={"loss": 0.5}),
        DoneLine(made=spoken.folder / "work" / "bundle"),
    ]


def raising(error):
    def pipeline(*_args, **_options):
        raise error

    return pipeline


def test_a_stopped_pipeline(spoken, monkeypatch):
    assert spoken.execute(monkeypatch, raising(Stopped())) == Exit.STOPPED == 75
    assert spoken.lines == []


def test_the_jobs_own_fault(spoken, monkeypatch):
    error = DatasetUnavailable("put the files there")
    assert spoken.execute(monkeypatch, raising(error)) == Exit.JOB_AT_FAULT == 2
    assert spoken.lines == [ErrorLine(code="dataset_unavailable", detail="put the files there")]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 2 bytes"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `...`"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    ],
)
def test_want_of_memory_is_told_apart(spoken, monkeypatch, error):
    assert spoken.execute(monkeypatch, raising(error)) == Exit.JOB_AT_FAULT
    (line,) = spoken.lines
    assert line.code == "out_of_memory"
    assert "smaller batch" in line.detail
    assert "\n" not in line.detail


@pytest.mark.parametrize(
    "text", ["shapes do not match", "CUDA error: an illegal memory access was encountered"]
)
def test_a_bug_is_left_to_show_its_traceback(spoken, monkeypatch, text):
    with pytest.raises(RuntimeError, match=text):
        spoken.execute(monkeypatch, raising(RuntimeError(text)))
    assert spoken.lines == []


def test_being_asked_is_a_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ALIVE_SECONDS", 0.0)
    with (tmp_path / "spoken").open("wb", buffering=0) as stream:
        stop = StopFlag(Voice(stream))
        assert not stop()
        stop.set()
        assert stop()
    lines = (tmp_path / "spoken").read_bytes().splitlines()
    assert [parse_line(line) for line in lines] == [AliveLine(), AliveLine()]


def test_log_records_go_to_the_supervisor(tmp_path):
    import logging

    with (tmp_path / "spoken").open("wb", buffering=0) as stream:
        handler = runner.LogToSupervisor(Voice(stream))
        for level in (logging.INFO, logging.WARNING, logging.CRITICAL):
            handler.emit(logging.LogRecord("dcpi_core", level, "", 0, "took %d s", (3,), None))
    found = [parse_line(line) for line in (tmp_path / "spoken").read_bytes().splitlines()]
    assert found == [LogLine(level=x, message="took 3 s") for x in ("info", "warning", "error")]


def test_a_record_that_cannot_be_told_does_not_end_the_work(tmp_path, monkeypatch):
    import logging

    monkeypatch.setattr(logging, "raiseExceptions", False)  # or it would be shown
    with (tmp_path / "spoken").open("wb", buffering=0) as stream:
        handler = runner.LogToSupervisor(Voice(stream))
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "%d steps", ("three",), None))
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "half \ud800 \0", (), None))
    found = [parse_line(line) for line in (tmp_path / "spoken").read_bytes().splitlines()]
    assert found == [LogLine(message="half ? \ufffd")]


def test_a_number_that_is_none_is_left_out(spoken, monkeypatch):
    def pipeline(spec, place, *, progress, stop, device, shrink):
        metrics = {"loss": float("nan"), "gap": float("inf"), "top1": 0.5}
        progress(Progress(Phase.BASE, 1, 2, "half \udfff", metrics))
        raise DatasetUnavailable("no \ud800 there")

    assert spoken.execute(monkeypatch, pipeline) == Exit.JOB_AT_FAULT
    step, error = spoken.lines
    assert (step.message, step.metrics) == ("half ?", {"top1": 0.5})
    assert error.detail == "no ? there"


def test_other_programs_numbers_are_checked_too():
    text = '{"type": "progress", "phase": "base", "step": 1, "total_steps": 2, "metrics": %s}'
    assert parse_line(text % '{"loss": NaN, "top1": 0.5}').metrics == {"top1": 0.5}


@pytest.fixture
def process(root):
    """A real runner."""
    found = subprocess.Popen(
        [sys.executable, "-m", "worker.runner"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    yield found
    found.kill()
    found.communicate()


def begin(process, order: CondenseOrder) -> dict:
    """Give the order and wait for the first step of the base method."""
    process.stdin.write(order.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    for line in process.stdout:
        found = json.loads(line)
        if found["type"] == "progress" and found["phase"] == "base":
            return found
    raise AssertionError(process.stderr.read().decode())


def test_sigterm_leaves_a_checkpoint(process, tmp_path):
    begin(process, order(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == Exit.STOPPED
    assert (tmp_path / "work" / "checkpoint.safetensors").is_file()
    assert process.stderr.read() == b""


def test_it_ends_with_its_supervisor(process, tmp_path):
    begin(process, order(tmp_path))
    began = time.monotonic()
    process.stdin.close()
    process.stdin = None
    process.wait(timeout=20)
    assert time.monotonic() - began < 4.0


def test_only_messages_reach_standard_output(root):
    script = """
import os, sys
from worker.runner import Voice
from worker.protocol import LogLine
voice = Voice.take_stdout()
print("from Python", flush=True)
os.system("echo from a program")
voice.say(LogLine(message="hello"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["hello"]
    assert done.stderr.split("\n")[:2] == ["from Python", "from a program"]


def test_exit_codes_are_the_documented_ones():
    assert {code.name: int(code) for code in Exit} == {
        "DONE": 0,
        "BROKEN": 1,
        "JOB_AT_FAULT": 2,
        "STOPPED": os.EX_TEMPFAIL,
    }
