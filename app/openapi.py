"""Writes ``openapi.json``: ``python -m app.openapi``, or ``--check`` to fail if it is stale."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.main import create_app
from app.settings import Settings

PATH = Path(__file__).resolve().parent.parent / "openapi.json"


def render_document() -> dict[str, Any]:
    """The OpenAPI document of the application as it is."""
    with tempfile.TemporaryDirectory() as home:
        return create_app(Settings(home=Path(home), database_url="sqlite://")).openapi()


def render() -> str:
    """The text of ``openapi.json``."""
    return json.dumps(render_document(), indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    text = render()
    if not parser.parse_args().check:
        PATH.write_text(text, encoding="utf-8")
        return 0
    if PATH.exists() and PATH.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{PATH} is stale: run `make openapi`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
