"""What most tests of the core begin with; a module that needs another kind defines its own."""

import pytest

from tests.core.problems import blobs


@pytest.fixture(scope="module")
def source():
    """Small images that are easy to tell apart."""
    return blobs()


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """One store for all tests of a module: what they prepare is prepared once."""
    return tmp_path_factory.mktemp("assets")
