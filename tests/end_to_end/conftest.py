"""The service over real servers, and the service as it comes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.stack import Processes, Stack, until


@pytest.fixture(scope="session")
def servers(tmp_path_factory, postgres_url, s3_settings, valkey_url) -> Iterator[Stack]:
    """An API over PostgreSQL, S3 and Valkey; tests add workers."""
    settings = s3_settings | {"database_url": postgres_url(), "broker_url": valkey_url}
    stack = Stack(tmp_path_factory.mktemp("servers"), settings)
    try:
        stack.open()
        yield stack
    finally:
        stack.end()


class Embedded(Processes):
    """``python -m worker.local`` without any setting but its directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"DCPI_HOME": str(folder / "var")})
        self.head = self.start("local", "worker.local", "--port=0")
        until(lambda: "stop: Ctrl-C" in self.log("local"), "the service")
        found = re.search(r"API: (http://\S+)/docs", self.log("local"))
        assert found is not None
        self.address = found[1]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    service = Embedded(tmp_path)
    try:
        yield service
    finally:
        service.end()
