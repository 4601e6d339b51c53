"""Brings the database to the current tables: ``python -m app.migrate``."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from app.kit.db import build_engine
from app.settings import Settings
from dcpi_core.spec.errors import InvalidInput

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def config_for(url: str) -> Config:
    """Alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Apply every migration that is missing."""
    build_engine(url).dispose()  # makes the directory of an SQLite file
    command.upgrade(config_for(url), revision)


def main() -> None:
    """Upgrade the database that the environment names; exits with 1 if a setting is wrong."""
    try:
        settings = Settings.read()
    except InvalidInput as error:
        sys.exit(f"error: {error.detail}")
    upgrade(settings.resolved_database_url)


if __name__ == "__main__":
    main()
