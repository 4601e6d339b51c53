"""The documentation names what there is: every setting, every word of make that the README uses."""

import re

from app.settings import Settings
from dcpi_core.spec.catalog import load_catalog


def test_every_setting_is_documented_and_nothing_else(root):
    text = (root / "docs" / "deploy.md").read_text()
    named = set(re.findall(r"^\| `(DCPI_\w+)`", text, re.MULTILINE))
    assert named == {f"DCPI_{name.upper()}" for name in Settings.model_fields}


def test_every_setting_is_described(root):
    text = (root / "docs" / "deploy.md").read_text()
    rows = re.findall(r"^\| `DCPI_\w+` \|[^|]*\| *([^|]*?) *\|$", text, re.MULTILINE)
    assert len(rows) == len(Settings.model_fields)
    assert all(rows)
    fields = Settings.model_fields.items()
    assert [name for name, field in fields if not field.description] == []


def test_commands_of_the_readme_exist(root):
    text = (root / "README.md").read_text()
    words = set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (root / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test"} <= words <= targets


def test_links_of_the_readme_lead_somewhere(root):
    links = re.findall(r"\]\(([^)#]+)\)", (root / "README.md").read_text())
    local = [link for link in links if "://" not in link]
    assert len(local) >= 5
    assert [link for link in local if not (root / link).exists()] == []


def test_the_readme_names_everything_that_can_be_asked_for(root):
    text = (root / "README.md").read_text()
    catalog = load_catalog()
    offered = [*catalog.methods, *catalog.privileged_types, *catalog.datasets]
    assert [name for name in offered if f"`{name}`" not in text] == []


def test_every_method_has_its_section_in_the_docs(root):
    pages = "".join((root / "docs" / f"{page}.md").read_text() for page in ("coresets", "matching"))
    assert [name for name in load_catalog().methods if f"`{name}`" not in pages] == []
