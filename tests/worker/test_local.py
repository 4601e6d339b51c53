"""Processes of the local service: kept alive, ended in order, never orphaned."""

import io
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from app.settings import Settings
from tests.worker.conftest import report
from tests.worker.waiting import until
from worker import family as families
from worker import watchdog
from worker.demo import beats_random, run
from worker.family import Family, Member
from worker.local import LocalService, NotReady, _answers, free_port

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def test_it_does_not_listen_to_strangers_without_keys(tmp_path):
    with pytest.raises(NotReady, match="DCPI_KEY_SECRET"):
        LocalService(Settings(home=tmp_path), "0.0.0.0", 0, 1)


def member(folder, name, code=None, tier=0, patience=5.0) -> Member:
    command = SLEEP if code is None else [sys.executable, "-c", code]
    return Member(name, command, folder / "logs" / f"{name}.log", tier, patience)


@pytest.fixture
def told():
    return []


def test_a_member_that_dies_is_started_again(tmp_path, told):
    one = member(tmp_path, "one")
    with Family(told.append) as family:
        family.add(one)
        first = one.process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: one.process.pid != first)
        assert told == ["one ended with code -9 and is started again"]
    assert one.process.poll() is not None


def test_a_member_that_dies_again_and_again_is_given_up(tmp_path, told, monkeypatch):
    monkeypatch.setattr(families, "WATCH_SECONDS", 0.05)
    with Family(told.append) as family:
        family.add(member(tmp_path, "one", "raise SystemExit('the port is busy')"))
        until(lambda: family.failed)
        assert "the port is busy" in family.failed.last_words()
    assert len(told) == families.MAX_DEATHS


def test_members_end_tier_by_tier_and_stubborn_ones_are_killed(tmp_path, told):
    ended = []
    stubborn = member(tmp_path, "stubborn", STUBBORN, tier=1, patience=0.3)
    plain = member(tmp_path, "plain")
    with Family(told.append) as family:
        stop = family._stop
        family._stop = lambda tier: (ended.append([m.name for m in tier]), stop(tier))
        family.add(plain)
        family.add(stubborn)
        until(lambda: "ready" in stubborn.last_words())
    assert ended == [["stubborn"], ["plain"]]
    assert stubborn.process.returncode == -signal.SIGKILL
    assert plain.process.returncode == -signal.SIGTERM


def test_the_family_ends_when_its_head_is_killed(tmp_path):
    script = f"""
import pathlib, time
from worker.family import Family, Member
folder = pathlib.Path({str(tmp_path)!r})
with Family(print) as family:
    family.add(Member("one", {SLEEP!r}, folder / "log", 0))
    print(family._members[0].process.pid, flush=True)
    time.sleep(60)
"""
    head = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert head.stdout is not None
    pid = int(head.stdout.readline())
    os.killpg(pid, 0)
    head.kill()
    head.communicate()
    until(lambda: not watchdog.signal_group(pid, 0))


def test_the_watchdog_ends_whom_it_was_told_of():
    assert watchdog.listen(io.StringIO("+1\n+2\n-1\n+3\n")) == [2, 3]
    process = subprocess.Popen(SLEEP, start_new_session=True)
    stubborn = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    watchdog.end([process.pid, stubborn.pid, 2**22 + 1], patience=0.5)
    assert process.wait(timeout=5) == -signal.SIGTERM
    assert stubborn.wait(timeout=5) == -signal.SIGKILL
    stubborn.stdout.close()


def test_a_busy_port_is_replaced():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = other.getsockname()[1]
        assert free_port("127.0.0.1", busy) not in (0, busy)
    assert free_port("127.0.0.1", busy) == busy


def test_a_host_that_is_none_is_told(tmp_path):
    with pytest.raises(NotReady, match=r"no port of host\.invalid can be listened on: .+"):
        free_port("host.invalid", 8000)


def test_ipv6(tmp_path):
    service = LocalService(Settings(home=tmp_path), "::1", 0, 1)
    assert service.address == f"http://[::1]:{service.port}"


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["--port", "70000"], {}, "65535"),
        ([], {"DCPI_PORT": "abc"}, "DCPI_PORT: Input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_trace(words, environment, told):
    command = [sys.executable, "-m", "worker.local", *words]
    ended = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode in (1, 2)
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_service_is_found_whatever_proxy_the_environment_names(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        Thread(target=server.handle_request, daemon=True).start()
        assert _answers(f"http://127.0.0.1:{server.server_port}/readyz")


class Ready(BaseHTTPRequestHandler):
    """Answers as a service that is ready."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_the_demo_is_judged_by_its_report():
    found = report()
    arm = found.arms[0].model_copy(update={"name": "privileged", "runs": (0.6, 0.6)})
    better = found.model_copy(update={"arms": (*found.arms, arm)})
    worse = better.model_copy(
        update={"arms": (*found.arms, arm.model_copy(update={"runs": (0.4, 0.5)}))}
    )
    assert beats_random(better)
    assert not beats_random(worse)


def test_the_demo_replaces_nothing_but_a_bundle(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("precious")
    assert not run("http://127.0.0.1:9", tmp_path)
    assert "is not empty and holds no bundle" in capsys.readouterr().err
    assert not run("http://127.0.0.1:9", tmp_path / "notes.txt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_demo_that_fails_does_not_end_the_service(tmp_path, capsys):
    assert not run("http://127.0.0.1:9", tmp_path / "demo")
    assert "no answer from http://127.0.0.1:9" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
