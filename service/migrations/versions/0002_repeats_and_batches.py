"""Keys of requests that may be repeated, and batches of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column("jobs", sa.Column("batch_id", sa.String()))
    op.drop_index("jobs_by_digest", "jobs")
    op.create_index("jobs_by_digest", "jobs", ["scenario_digest", "state", "reused_from", "id"])
    op.create_index("jobs_by_batch", "jobs", ["batch_id", "id"])
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("made", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("content", sa.Text()),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("idempotency_keys")
    op.drop_index("jobs_by_batch", "jobs")
    op.drop_column("jobs", "batch_id")
    op.drop_index("jobs_by_digest", "jobs")
    op.create_index("jobs_by_digest", "jobs", ["scenario_digest", "state"])
