"""Access control: tenants and their keys; every object belongs to a tenant."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002_access"
down_revision = "0001"
branch_labels = None
depends_on = None

DEFAULT = "tnt_default"
OWNED = ("jobs", "datasets", "condensed", "idempotency_keys")


def upgrade() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("max_queued_jobs", sa.Integer(), nullable=True),
        sa.Column("max_running_jobs", sa.Integer(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_device_seconds", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.bulk_insert(tenants, [{"id": DEFAULT, "name": "default", "created_at": datetime.now(UTC)}])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=64), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("bucket_full_at", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_tenant_id"), "api_keys", ["tenant_id"])
    for table in OWNED:
        with op.batch_alter_table(table) as batch:
            # The default stays for the version before this one, which knows no tenants.
            column = sa.Column(
                "tenant_id", sa.String(length=40), nullable=False, server_default=DEFAULT
            )
            batch.add_column(column)
            name = op.f(f"fk_{table}_tenant_id_tenants")
            batch.create_foreign_key(name, "tenants", ["tenant_id"], ["id"])
            batch.create_index(op.f(f"ix_{table}_tenant_id"), ["tenant_id"])
    with op.batch_alter_table("datasets") as batch:
        batch.drop_constraint(op.f("uq_datasets_name"), type_="unique")
        batch.create_unique_constraint(op.f("uq_datasets_tenant_id_name"), ["tenant_id", "name"])
        batch.add_column(
            sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0")
        )
    # What is stored was not written down before; the archive's size is the nearest to it.
    op.execute("UPDATE datasets SET stored_bytes = size_bytes")
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_constraint(op.f("uq_idempotency_keys_operation_key"), type_="unique")
        batch.create_unique_constraint(
            op.f("uq_idempotency_keys_tenant_id_operation_key"), ["tenant_id", "operation", "key"]
        )


def downgrade() -> None:
    """Fails, and changes nothing, where two tenants use the same name or the same key."""
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_constraint(op.f("uq_idempotency_keys_tenant_id_operation_key"), type_="unique")
        batch.create_unique_constraint(
            op.f("uq_idempotency_keys_operation_key"), ["operation", "key"]
        )
    with op.batch_alter_table("datasets") as batch:
        batch.drop_column("stored_bytes")
        batch.drop_constraint(op.f("uq_datasets_tenant_id_name"), type_="unique")
        batch.create_unique_constraint(op.f("uq_datasets_name"), ["name"])
    for table in reversed(OWNED):
        with op.batch_alter_table(table) as batch:
            batch.drop_index(op.f(f"ix_{table}_tenant_id"))
            batch.drop_constraint(op.f(f"fk_{table}_tenant_id_tenants"), type_="foreignkey")
            batch.drop_column("tenant_id")
    op.drop_table("api_keys")
    op.drop_table("tenants")
