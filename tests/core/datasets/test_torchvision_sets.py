import hashlib
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from dcpi_core import datasets
from dcpi_core.datasets import download
from dcpi_core.datasets.download import RemoteFile, fetch
from dcpi_core.datasets.published import CIFAR10, MNIST, SOURCES
from dcpi_core.datasets.torchvision_sets import to_split
from dcpi_core.datasets.torchvision_shim import load_torchvision
from dcpi_core.registry import DATASETS
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import DatasetUnavailable, UnknownName

SHAPES = {
    "cifar10": (3, 32, 32, 10, 50000, 10000),
    "cifar100": (3, 32, 32, 100, 50000, 10000),
    "mnist": (1, 28, 28, 10, 60000, 10000),
    "fashion_mnist": (1, 28, 28, 10, 60000, 10000),
    "svhn": (3, 32, 32, 10, 73257, 26032),
}


@pytest.mark.parametrize("name", SHAPES)
def test_registered_facts(name):
    facts = DatasetFacts.model_validate(DATASETS.get(name).facts)
    assert facts.name == name
    assert SHAPES[name] == (
        facts.channels,
        facts.height,
        facts.width,
        facts.num_classes,
        facts.num_train,
        facts.num_test,
    )
    assert len(facts.mean) == len(facts.std) == facts.channels
    assert len(set(facts.classes)) == facts.num_classes == len(facts.train_per_class)


def test_cifar10_keeps_the_literature_s_std():
    assert CIFAR10.std == (0.2023, 0.1994, 0.2010)


def test_files_are_those_torchvision_asks_for():
    known = load_torchvision().datasets
    assert _sums("cifar10") == {known.CIFAR10.filename: known.CIFAR10.tgz_md5}
    assert _sums("cifar100") == {known.CIFAR100.filename: known.CIFAR100.tgz_md5}
    assert _sums("mnist") == dict(known.MNIST.resources)
    assert _sums("fashion_mnist") == dict(known.FashionMNIST.resources)
    svhn = known.SVHN.split_list
    assert _sums("svhn") == {svhn[split][1]: svhn[split][2] for split in ("train", "test")}
    assert SOURCES["cifar10"].files[0].url == known.CIFAR10.url


def _sums(name):
    return {file.path.rpartition("/")[2]: file.md5 for file in SOURCES[name].files}


@pytest.mark.parametrize("name", SHAPES)
def test_absent_without_network_says_what_to_do(name, tmp_path):
    start = time.perf_counter()
    with pytest.raises(DatasetUnavailable) as caught:
        datasets.load(name, root=str(tmp_path))  # a string, as torchvision is given it
    assert time.perf_counter() - start < 10
    assert not isinstance(caught.value.__cause__, OSError)
    for part in ("DCPI_DATA_ROOT", "network", str(tmp_path), "md5", "urlopen"):
        assert (part in caught.value.detail) == (part != "urlopen")
    for file in SOURCES[name].files:
        assert str(tmp_path / file.path) in caught.value.detail


def test_unknown_name_lists_the_known():
    with pytest.raises(UnknownName, match="cifar10, cifar100, digits"):
        datasets.load("cifar11")


def test_mnist_from_local_files(tmp_path):
    """torchvision's own reader on files of the right format, all black but one pixel."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    labels = np.repeat(np.arange(10, dtype=np.uint8), MNIST.train_per_class)
    for prefix, known in (("train", labels), ("t10k", np.zeros(10000, dtype=np.uint8))):
        pixels = np.zeros((len(known), 28, 28), dtype=np.uint8)
        pixels[0, 1, 2] = 200
        shape = struct.pack(">4I", 0x803, *pixels.shape)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(shape + pixels.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, len(known)) + known.tobytes()
        )
    dataset = datasets.load("mnist", tmp_path)
    assert dataset.train.images.shape == (60000, 1, 28, 28)
    assert dataset.train.images[0].nonzero().tolist() == [[0, 1, 2]]
    assert dataset.facts.fingerprint


def test_channels_last_arrays_are_turned():
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    part = to_split(pixels, [1, 0], channels_last=True)
    assert part.images.shape == (2, 3, 4, 5)
    assert part.images.is_contiguous()
    assert part.images[1, 2, 3, 4] == pixels[1, 3, 4, 2]
    assert part.labels.tolist() == [1, 0]


def test_channels_first_and_grey_arrays_stay():
    colour = np.zeros((2, 3, 4, 5), dtype=np.uint8)
    assert to_split(colour, np.array([1, 0]), channels_last=False).images.shape == (2, 3, 4, 5)
    grey = torch.zeros(2, 4, 5, dtype=torch.uint8)
    assert to_split(grey, torch.tensor([1, 0]), channels_last=False).images.shape == (2, 1, 4, 5)


@pytest.fixture
def server():
    """A web server that has one file, ``/data``."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200 if self.path == "/data" else 404)
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            if self.path == "/data":
                self.wfile.write(b"content")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


CONTENT_MD5 = hashlib.md5(b"content").hexdigest()


def test_a_missing_file_is_downloaded_once(server, tmp_path):
    file = RemoteFile("deep/down", server + "/data", CONTENT_MD5)
    fetch("toy", [file], tmp_path)
    assert (tmp_path / "deep/down").read_bytes() == b"content"
    fetch("toy", [RemoteFile("deep/down", "http://127.0.0.1:9/gone", CONTENT_MD5)], tmp_path)


@pytest.mark.parametrize(
    ("path", "md5", "reason"),
    [("/data", "0" * 32, "md5 differs"), ("/other", CONTENT_MD5, "Not Found")],
)
def test_a_wrong_file_is_not_kept(server, tmp_path, path, md5, reason):
    with pytest.raises(DatasetUnavailable, match=reason):
        fetch("toy", [RemoteFile("file", server + path, md5)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_does_not_hold_us(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/data"
        start = time.perf_counter()
        with pytest.raises(DatasetUnavailable, match=r"timed out|no answer"):
            fetch("toy", [RemoteFile("file", url, CONTENT_MD5)], tmp_path)
    assert time.perf_counter() - start < 3
