"""From options and files to a request; mistakes are one clear line and exit status 2."""

import json
import re
import subprocess
import sys

import pytest

from dcpi_core.cli.asking import Asked, read_spec, read_submission
from dcpi_core.cli.table import Row, accuracy_table
from dcpi_core.spec.errors import InvalidInput
from tests.core.cli.conftest import TINY

DC = ["--base-method", "dc"]
FIELDS = {"dataset": "digits", "fraction": 0.1, "base_method": "random", "pi_type": "none"}


def written(tmp_path, body) -> Asked:
    path = tmp_path / "job.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


class TestRequests:
    def test_options_alone(self):
        asked = Asked(
            None,
            dataset="digits",
            fraction="5%",
            method="random",
            pi=["soft", "feature"],
            network="ConvNetD2",
            settings=["evaluation.epochs=7", "pi.soft.temperature=2.5", "base.note=plain words"],
        )
        found = read_submission(asked)
        assert found.fraction == "5%"
        assert found.pi_type == ("soft", "feature")
        assert found.options.network == "ConvNetD2"
        assert found.options.evaluation.epochs == 7
        assert found.options.pi == {"soft": {"temperature": 2.5}}
        assert found.options.base == {"note": "plain words"}

    def test_no_privileged_type_means_none(self):
        asked = Asked(None, dataset="digits", images_per_class=1, method="random")
        assert read_submission(asked).pi_type == "none"

    def test_options_override_the_file(self, tmp_path):
        path = written(tmp_path, FIELDS | {"seed": 3, "options": {"base": {"a": 1, "b": 2}}})
        asked = Asked(path, images_per_class=2, settings=["base.b=3"])
        found = read_submission(asked)
        assert (found.fraction, found.images_per_class, found.seed) == (None, 2, 3)
        assert found.options.base == {"a": 1, "b": 3}

    def test_an_upload_replaces_the_name(self, tmp_path):
        assert read_submission(Asked(written(tmp_path, FIELDS)), "ds_7").dataset == "ds_7"

    def test_a_resolved_spec_becomes_the_same_job(self, tmp_path):
        spec = read_spec(Asked(written(tmp_path, FIELDS)))
        path = tmp_path / "spec.json"
        path.write_text(spec.model_dump_json())
        assert read_spec(Asked(path)) == spec
        as_request = tmp_path / "request.json"
        request = read_submission(Asked(path)).model_dump_json(exclude_unset=True)
        as_request.write_text(request)
        assert read_spec(Asked(as_request)) == spec

    def test_a_resolved_spec_takes_no_options(self, tmp_path):
        path = tmp_path / "spec.json"
        path.write_text(read_spec(Asked(written(tmp_path, FIELDS))).model_dump_json())
        with pytest.raises(InvalidInput, match="resolved"):
            read_spec(Asked(path, seed=4))

    @pytest.mark.parametrize("setting", ["x", "x=1", "=1", "base.=1", "base"])
    def test_settings_of_another_form(self, setting):
        with pytest.raises(InvalidInput, match="--set"):
            read_submission(Asked(None, dataset="digits", settings=[setting]))

    @pytest.mark.parametrize("settings", [["base.a=5", "base.a.x=1"], ["network.x=1"]])
    def test_nothing_lies_below_a_value(self, settings):
        asked = Asked(None, dataset="digits", network="MLP", settings=settings)
        with pytest.raises(InvalidInput, match=r"--set .*\.x=1.*nothing below"):
            read_submission(asked)

    @pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
    def test_files_that_hold_no_request(self, tmp_path, text):
        with pytest.raises(InvalidInput, match=r"job\.json"):
            read_submission(Asked(written(tmp_path, text)))


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["estimate", "--dataset", "digits"], "--base-method is missing"),
            (["submit", *DC], "--dataset is missing"),
            (["estimate", *TINY, "--dataset", "nope"], "available: .*digits"),
            (["estimate", *TINY, "--base-method", "nope"], "available: .*random"),
            (["estimate", *TINY, "--pi-type", "nope"], "available: .*feature"),
            (["estimate", *TINY, "--fraction", "0.1"], "exactly one"),
            (["estimate", *TINY, "--set", "base.nope=1"], "nope"),
            (
                ["estimate", *TINY, "--base-method", "dc", "--set", "base.iterations=0"],
                "iterations: 0",
            ),
            (["estimate", *TINY, "--set", "base.x=1"], "\n  at /options/base"),
            (["estimate", "nowhere.json"], "nowhere.json"),
            (["submit", *TINY, "--server", "nonsense"], "address"),
            (["train", "nowhere"], "no bundle"),
        ],
    )
    def test_one_line_and_status_2(self, dcpi, arguments, words):
        done = dcpi(*arguments)
        assert done.exit_code == 2
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert lines[0].startswith("error: ")
        assert "Traceback" not in done.stderr
        assert re.search(words, done.stderr), done.stderr

    def test_shorter_spellings(self, dcpi):
        short = dcpi("estimate", *TINY, "--method", "dc", "--pi", "soft", "--json")
        assert short.exit_code == 0, short.output
        assert short.stdout == dcpi("estimate", *TINY, *DC, "--pi-type", "soft", "--json").stdout

    @pytest.mark.parametrize("command", ["condense", "estimate", "train", "verify", "submit"])
    def test_unknown_options_are_refused(self, dcpi, command):
        done = dcpi(command, "--nonsense")
        assert done.exit_code == 2
        assert "nonsense" in done.stderr

    def test_a_bug_keeps_its_traceback(self, dcpi, monkeypatch):
        monkeypatch.setattr("dcpi_core.cli.asking.read_spec", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dcpi("estimate", *TINY)


def test_help_and_light_commands_load_no_torch():
    helps = (["--help"], ["submit", "--help"], ["pull", "--help"])
    for arguments in (*helps, ["--version"], ["estimate", *TINY], ["list", "dc"]):
        code = (
            "import sys\n"
            "from dcpi_core.cli.main import app\n"
            f"try: app({arguments!r})\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "loaded = [m for m in ('torch', 'numpy') if m in sys.modules]\n"
            "sys.exit(f'loaded {loaded}' if loaded else 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)


def test_the_table():
    from rich.console import Console

    base = Row("base", "dc", "ConvNetD3", (0.27, 0.29), 1000)
    full = Row("privileged", "dc + feature labels", "ConvNetD3", (0.30, 0.32), 2500)
    console = Console(width=120)
    with console.capture() as text:
        console.print(accuracy_table([base, full]))
    lines = text.get().splitlines()
    assert "network" not in lines[0]
    assert lines[1].split() == ["dc", "28.0", "±", "1.4", "(n=2)", "1,000"]
    assert lines[2].split()[-3:] == ["(n=2)", "+3.0", "2,500"]
