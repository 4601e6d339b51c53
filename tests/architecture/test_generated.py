"""Generated files are current, and the documents speak of things that exist."""

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["dcpi_core.catalog_export", "app.openapi", "benchmarks.results_page"]
)
def test_generated_file_is_current(module, root):
    command = [sys.executable, "-m", module, "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def make_targets(root) -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "docs/add-a-method.md", "docs/deploy.md", ".ci/run"]
)
def test_make_words_exist(name, root):
    text = (root / name).read_text()
    # commands stand in code: after a prompt-less line start or between backticks
    words = re.findall(r"(?:^|`|\n\s*)make ([a-z][a-z -]*)", text)
    asked = {word for group in words for word in group.split() if not word.startswith("-")}
    assert asked <= make_targets(root) | set(), name


def test_every_make_word_is_explained(root):
    text = (root / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    assert make_targets(root) == explained


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "docs"])
def test_named_files_exist(path, root):
    """Links, and paths below the project's folders that stand between backticks."""
    documents = [root / path] if path.endswith(".md") else sorted((root / path).glob("*.md"))
    missing = []
    for document in documents:
        text = document.read_text()
        links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
        missing += [f"{document.name}: {x}" for x in links if not (document.parent / x).exists()]
        folders = r"`((?:app|worker|dcpi_core|migrations|tests|docs|benchmarks)/[\w./-]+)`"
        named = re.findall(folders, text)
        missing += [f"{document.name}: {x}" for x in named if not (root / x).exists()]
    assert missing == []
