"""How alembic reaches the database; ``app.migrate`` says which."""

from typing import Any

from alembic import context
from sqlalchemy import event

from app.kit.db import build_engine
from app.models import Base
from app.settings import Settings

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "60s"


def _do_not_follow_references(connection: Any, _record: Any) -> None:
    # SQLite alters a table by copying it and dropping the old one, which others still refer to.
    # This has no effect inside a transaction, so it is said as soon as there is a connection.
    connection.execute("PRAGMA foreign_keys=OFF")


def run() -> None:
    """Apply migrations in one transaction."""
    url = context.config.attributes.get("url") or Settings().resolved_database_url
    engine = build_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _do_not_follow_references)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # A migration must rather fail than block the service behind a lock.
            connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
            connection.commit()
        context.configure(
            connection=connection, target_metadata=Base.metadata, render_as_batch=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
