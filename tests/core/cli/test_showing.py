"""``dcpi show`` tells what the report of a bundle says."""

import json
import shutil
import subprocess
import sys

import pytest

from dcpi_core.bundle import load, write_zip
from dcpi_core.spec.report import Difference


def test_the_table_of_condense_with_differences_and_bytes(made, dcpi):
    out, condensed = made
    done = dcpi("show", out)
    assert done.exit_code == 0, done.output
    loaded = load(out)
    table = [line.rstrip() for line in condensed.stdout.splitlines() if "(n=1)" in line]
    assert len(table) == 2
    assert set(table) <= {line.rstrip() for line in done.stdout.splitlines()}
    (difference,) = loaded.report.differences
    told = f"{100 * difference.mean:+.2f}  base against random, {difference.network}"
    assert f"{told}: {difference.tells}" in done.stdout
    assert loaded.manifest.id in done.stdout
    assert "bytes: 2,640 (images 2,560, labels 80)" in done.stdout


def test_a_zip_says_the_same(made, dcpi, tmp_path):
    write_zip(made[0], tmp_path / "bundle.zip")
    assert dcpi("show", tmp_path / "bundle.zip").stdout == dcpi("show", made[0]).stdout


def test_as_json(made, dcpi):
    found = json.loads(dcpi("show", made[0], "--json").stdout)
    assert found == load(made[0]).report.model_dump(mode="json")


def test_a_directory_is_read_without_torch(made):
    code = (
        "import sys\n"
        "from dcpi_core.cli.main import app\n"
        f"try: app(['show', {str(made[0])!r}])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: shutil.rmtree(path), "no bundle"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json"),
        (lambda path: (path / "report.json").unlink(), "report.json"),
        (lambda path: (path / "report.json").write_text("{}"), "does not match"),
    ],
)
def test_what_is_no_bundle(made, dcpi, tmp_path, damage, told):
    copy = shutil.copytree(made[0], tmp_path / "copy")
    damage(copy)
    done = dcpi("show", copy)
    assert (done.exit_code, told in done.stderr) == (2, True)


def test_a_difference_with_its_error():
    from dcpi_core.cli.showing import _difference

    found = Difference(
        arm="a", against="b", network="MLP", mean=0.031, standard_error=0.004, n=3, tells="why"
    )
    assert _difference(found) == "  +3.10 ± 0.40  a against b, MLP: why"
