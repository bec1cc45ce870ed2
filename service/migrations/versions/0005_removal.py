"""Removal: which contents are needed, which are to go, which artifacts were there once. Reports on artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "content_pins",
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column("job_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
    )
    op.create_index("content_pins_by_job", "content_pins", ["job_id"])
    op.create_table(
        "doomed_contents",
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column("removing", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
    )
    op.create_index("doomed_contents_by_time", "doomed_contents", ["due_at"])
    op.create_table(
        "gone_artifacts",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False, server_default="default"),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_index("gone_artifacts_by_age", "gone_artifacts", ["at"])
    op.create_table(
        "reports",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False, server_default="default"),
        sa.Column("artifact_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("latency_ms", sa.Float()),
        sa.Column("latency_percentile", sa.Float()),
        sa.Column("figures", sa.JSON(), nullable=False),
    )
    op.create_index("reports_by_artifact", "reports", ["artifact_id", "id"])


def downgrade() -> None:
    """Take back."""
    for table in ("reports", "gone_artifacts", "doomed_contents", "content_pins"):
        op.drop_table(table)
