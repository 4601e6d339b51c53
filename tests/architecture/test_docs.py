"""The documentation names what there is: every setting, every word of make that the README uses."""

import re

from app.settings import Settings


def test_every_setting_is_documented_and_nothing_else(root):
    text = (root / "docs" / "deploy.md").read_text()
    named = set(re.findall(r"^\| `(DCPI_\w+)`", text, re.MULTILINE))
    assert named == {f"DCPI_{name.upper()}" for name in Settings.model_fields}


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
