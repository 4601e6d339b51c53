import pytest
import torch

from dcpi_core.condensed import CondensedSet
from tests.core.problems import blobs, context


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    return context(blobs(), tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def condensed(ctx):
    picked = torch.tensor([0, 1, 20, 21, 40, 41])
    return CondensedSet(ctx.normalised(picked), ctx.hard_labels())
