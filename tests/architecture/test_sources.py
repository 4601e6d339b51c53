"""Rules on the source text itself, read from the syntax trees."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("app", "worker", "dcpi_core")
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
}
FORBIDDEN_CALLS = {
    ("torch", "load"),
    ("torch", "save"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("os", "system"),
}
FORBIDDEN_BUILTINS = {"eval", "exec", "compile"}


def sources(root: Path) -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    assert len(found) > 60, "the walk did not see the tree"
    return found


def violations(tree: ast.AST) -> Iterator[str]:
    """Ways to run code that came as data, one line each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        for name in names:
            if name.partition(".")[0] in FORBIDDEN_MODULES:
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Call):
            yield from _call_violations(node)


def _call_violations(node: ast.Call) -> Iterator[str]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in FORBIDDEN_BUILTINS:
        yield f"line {node.lineno}: calls {function.id}"
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        pair = (function.value.id, function.attr)
        if pair in FORBIDDEN_CALLS:
            yield f"line {node.lineno}: calls {'.'.join(pair)}"
    for keyword in node.keywords:
        allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "allow_pickle" and not allowed:
            yield f"line {node.lineno}: allow_pickle is not False"


def test_data_never_becomes_code(root):
    found = [
        f"{path.relative_to(root)} {violation}"
        for path in sources(root)
        for violation in violations(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "torch.load(path)",
        "yaml.load(text)",
        "numpy.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
        "eval(text)",
    ],
)
def test_the_rule_sees(text):
    assert list(violations(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["numpy.load(path, allow_pickle=False)", "network.eval()", "re.compile(text)"]
)
def test_the_rule_lets_pass(text):
    assert not list(violations(ast.parse(text)))


def test_every_source_says_what_it_is(root):
    silent = [
        str(path.relative_to(root))
        for path in sources(root)
        if (text := path.read_text(encoding="utf-8")).strip()
        and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_only_settings_read_the_environment(root):
    """One reader of our environment; compute.py honours OMP_NUM_THREADS, as torch does."""
    reads = re.compile(r"\bos\.(environ|getenv)\b")
    readers = {
        str(path.relative_to(root))
        for path in sources(root)
        if reads.search(path.read_text(encoding="utf-8"))
    }
    assert readers <= {"app/settings.py", "dcpi_core/compute.py"}


def test_names_say_what_is_inside(root):
    vague = {"utils", "util", "helpers", "common", "misc", "manager"}
    assert [path for path in sources(root) if path.stem in vague] == []
