"""Connections go to the address that was checked, and end in time."""

import socket
import threading
import time

import httpcore
import pytest

from app.webhooks.network import ForbiddenTarget, GuardedBackend, post, resolve

BODY = b"{}"


def on_this_machine(address: str) -> bool:
    return address == "127.0.0.1"


class Resolver:
    """Says one list of addresses after the other, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def send(url, *, look_up, allowed=on_this_machine, seconds=10.0):
    return post(url, {}, BODY, GuardedBackend(seconds, allowed, look_up))


def test_a_message_arrives_under_the_name_that_was_asked_for(receiver):
    url = f"http://hooks.example:{receiver.port}/hook?x=1"
    assert send(url, look_up=Resolver(["127.0.0.1"])) == 200
    ((path, headers, body),) = receiver.got
    assert (path, body) == ("/hook?x=1", BODY)
    assert headers["Host"] == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"], ["127.0.0.1", "10.0.0.1"], []],
)
def test_forbidden_addresses_are_not_connected_to(receiver, addresses):
    url = f"http://hooks.example:{receiver.port}/hook"
    with pytest.raises(ForbiddenTarget, match="may not reach"):
        send(url, look_up=Resolver(addresses))
    assert receiver.got == []


def test_by_default_this_machine_is_forbidden(receiver):
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(ForbiddenTarget):
            post(url, {}, BODY, GuardedBackend(10.0))
    assert receiver.got == []


def test_a_name_that_changes_its_address_is_asked_once_and_checked_each_time(receiver):
    url = f"http://rebinding.example:{receiver.port}/hook"
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    assert send(url, look_up=resolver) == 200
    assert resolver.asked == 1, "what was checked is what was connected to"
    with pytest.raises(ForbiddenTarget):
        send(url, look_up=resolver)
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    receiver.status = status
    assert send(receiver.url, look_up=Resolver(["127.0.0.1"])) == status
    assert [path for path, *_ in receiver.got] == ["/hook"]


def test_a_receiver_that_drips_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection:
                for letter in b"HTTP/1.1 200 OK" + b"x" * 1000:
                    try:
                        connection.send(bytes([letter]))
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        url = f"http://slow.example:{server.getsockname()[1]}/"
        with pytest.raises(httpcore.TimeoutException):
            send(url, look_up=Resolver(["127.0.0.1"]), seconds=0.5)
        assert time.monotonic() - began < 20.0, "of the fifty that it wants"
        thread.join()


@pytest.mark.parametrize("host", ["a..b", ".example.org", "a" * 64 + ".example"])
def test_a_name_that_is_none_is_no_connection(host):
    with pytest.raises(httpcore.ConnectError, match="looked up"):
        send(f"http://{host}/", look_up=resolve)


def test_a_name_that_cannot_be_looked_up_is_no_connection():
    def fail(host, port):
        raise socket.gaierror("unknown")

    with pytest.raises(httpcore.ConnectError, match="looked up"):
        send("http://nowhere.example/", look_up=fail)
