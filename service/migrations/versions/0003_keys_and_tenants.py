"""API keys, whose everything is, and who did what."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
OWNED = ("jobs", "models", "artifacts")


def upgrade() -> None:
    """Apply."""
    for table in OWNED:
        op.add_column(table, sa.Column("tenant", sa.String(), nullable=False, server_default="default"))
    op.drop_index("jobs_by_digest", "jobs")
    op.create_index("jobs_by_digest", "jobs", ["tenant", "scenario_digest", "state", "reused_from", "id"])
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "id"])
    op.create_index("jobs_by_tenant_and_state", "jobs", ["tenant", "state", "id"])
    op.create_index("models_by_tenant", "models", ["tenant", "id"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("label", sa.String()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
        sa.Column("last_used_at", sa.Float()),
    )
    op.create_index("api_keys_by_tenant", "api_keys", ["tenant", "id"])
    op.create_table(
        "audit",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("tenant", sa.String()),
        sa.Column("key_id", sa.String()),
        sa.Column("target", sa.String()),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String()),
        sa.Column("address", sa.String()),
        sa.Column("request_id", sa.String()),
    )
    op.create_index("audit_by_tenant", "audit", ["tenant", "id"])
    op.create_index("audit_by_age", "audit", ["at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("audit")
    op.drop_table("api_keys")
    op.drop_index("models_by_tenant", "models")
    for index in ("jobs_by_tenant_and_state", "jobs_by_tenant", "jobs_by_digest"):
        op.drop_index(index, "jobs")
    op.create_index("jobs_by_digest", "jobs", ["scenario_digest", "state", "reused_from", "id"])
    for table in OWNED:
        op.drop_column(table, "tenant")
