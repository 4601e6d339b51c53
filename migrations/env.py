"""How alembic reaches the database; ``app.migrate`` says which."""

from alembic import context

from app.kit.db import build_engine
from app.models import Base
from app.settings import Settings

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "60s"


def run() -> None:
    """Apply migrations in one transaction."""
    url = context.config.attributes.get("url") or Settings().resolved_database_url
    engine = build_engine(url)
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
