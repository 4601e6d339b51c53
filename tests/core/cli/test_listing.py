"""What can be asked for is told without a service and without torch."""

import pytest

from dcpi_core import __version__
from dcpi_core.cli.asking import Asked, read_spec
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.job import EvaluationOptions


def test_everything_that_a_job_can_be_made_of(dcpi):
    shown, catalog = dcpi("list").stdout, load_catalog()
    kinds = (catalog.methods, catalog.privileged_types, catalog.networks, catalog.datasets)
    for name in [own for kind in kinds for own in kind]:
        assert name in shown
    assert "dsa                 1000 epochs, augmentation: dsa" in shown


@pytest.mark.parametrize("kind", ["methods", "privileged_types", "networks"])
def test_every_option_with_its_default(dcpi, kind):
    for name, entry in getattr(load_catalog(), kind).items():
        lines = [line.split() for line in dcpi("list", name).stdout.splitlines()]
        names = {words[0] for words in lines if "default" in words}
        assert names >= set(entry.options_schema.get("properties", {})), name


def test_an_option_says_what_it_takes(dcpi):
    shown = dcpi("list", "dc").stdout
    assert "--set base.NAME=VALUE" in shown
    assert "integer at least 1, at most 100000; default 1000; fresh networks" in shown
    assert "noise | real; default noise; what the images start from" in shown
    assert "at 50 or more images per class: inner_epochs=10, outer_loops=50" in shown
    assert "protocol dc " in shown  # has the same name


def test_what_is_named_can_be_set(dcpi):
    assert "if pi.feature.preset=measured, at 1 to 9 images" in dcpi("list", "feature").stdout
    settings = ["pi.feature.preset=measured"]
    asked = Asked(None, "digits", images_per_class=1, method="dc", pi=["feature"])
    (label,) = read_spec(Asked(**vars(asked) | {"settings": settings})).privileged
    assert label.options["regression_weight"] == 100


def test_aliases_datasets_and_measuring(dcpi):
    assert dcpi("list", "graig").stdout.startswith("base method craig")
    assert "1,442 training and 355 test images" in dcpi("list", "digits").stdout
    shown = dcpi("list", "evaluation").stdout
    assert all(f"    {name} " in shown for name in EvaluationOptions.model_fields)


def test_what_there_is_not(dcpi):
    done = dcpi("list", "nope")
    assert done.exit_code == 2
    assert "available: AlexNet" in done.stderr


def test_version(dcpi):
    done = dcpi("--version")
    assert (done.exit_code, done.stdout) == (0, f"dcpi {__version__}\n")
