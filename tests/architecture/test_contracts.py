"""The import contracts hold, and each is seen to fail when a forbidden import is planted."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("worker", "app", "dcpi_core")

# contract id: (file the import is planted in, the import)
PLANTED = {
    "direction": ("dcpi_core/spec/errors.py", "import app.settings"),
    "core-order": ("dcpi_core/ops/distances.py", "import dcpi_core.methods.base"),
    "no-tensors": ("app/jobs/service.py", "import dcpi_core.training"),
    "core-is-a-library": ("dcpi_core/spec/errors.py", "import sqlalchemy"),
    "independent-methods": (
        "dcpi_core/methods/coreset/random.py",
        "import dcpi_core.methods.coreset.herding",
    ),
    "independent-privileged": (
        "dcpi_core/privileged/soft.py",
        "import dcpi_core.privileged.features.feature",
    ),
    "independent-networks": ("dcpi_core/networks/mlp.py", "import dcpi_core.networks.vgg"),
    "endpoints-via-services": ("app/jobs/endpoints.py", "import app.jobs.repository"),
    "no-web-below-endpoints": ("app/jobs/service.py", "import fastapi"),
    "acyclic": ("app/kit/ids.py", "import app.main"),
}


def contract_ids(root: Path) -> list[str]:
    config = configparser.ConfigParser()
    config.read(root / ".importlinter")
    return [name.rpartition(":")[2] for name in config.sections() if ":contract:" in name]


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("lint-imports")
    command = [script, "--no-cache", "--config", folder / ".importlinter", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def copy_of(root: Path, target: Path) -> Path:
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / package, target / package, ignore=ignored)
    shutil.copy(root / ".importlinter", target)
    return target


def test_all_contracts_hold(root):
    done = lint(root)
    assert done.returncode == 0, done.stdout


def test_every_contract_has_a_planted_import(root):
    assert sorted(PLANTED) == sorted(contract_ids(root))


@pytest.mark.parametrize("contract", PLANTED)
def test_contract_sees_a_planted_import(contract, root, tmp_path):
    tree = copy_of(root, tmp_path)
    name, statement = PLANTED[contract]
    planted = tree / name
    planted.write_text(f"{planted.read_text(encoding='utf-8')}\n{statement}\n", encoding="utf-8")
    done = lint(tree, "--contract", contract)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout


def test_a_new_core_module_must_be_placed(root, tmp_path):
    tree = copy_of(root, tmp_path)
    (tree / "dcpi_core" / "stray.py").write_text('"""A module without a place."""\n')
    assert lint(tree, "--contract", "core-order").returncode == 1
