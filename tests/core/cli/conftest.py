"""Run the command line in this process, on the digits that need no download."""

import io
import logging
import zipfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dcpi_core.cli.main import app

# The least work there is: ten images, one student, two passes.
TINY = ["--dataset", "digits", "--images-per-class", "1", "--base-method", "random"]
TINY += ["--set", "evaluation.repeats=1", "--set", "evaluation.epochs=1"]


def write_pictures(archive, seed: int = 0) -> None:
    """An archive of cats and dogs that differ with the seed."""
    noise = np.random.default_rng(seed)
    with zipfile.ZipFile(archive, "w") as target:
        for label in ("cat", "dog"):
            for number in range(10):
                picture = io.BytesIO()
                pixels = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(picture, "PNG")
                target.writestr(f"{label}/{number}.png", picture.getvalue())


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def dcpi():
    """``dcpi("verify", path)`` runs the command and returns its result."""

    def run(*arguments: object):
        logging.disable(logging.INFO)  # which servers of other tests may have turned on
        try:
            done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        finally:
            logging.disable(logging.NOTSET)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture(scope="session")
def made(dcpi, cache, tmp_path_factory):
    """A bundle made by ``dcpi condense``, and what the command printed."""
    out = tmp_path_factory.mktemp("made") / "bundle"
    done = dcpi("condense", *TINY, "--cache", cache, "--out", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    return out, done
