"""Indexes that every submit paid for: of batches only the jobs that are of one, of the audit log none by age."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Apply."""
    op.drop_index("jobs_by_batch", "jobs")
    within = sa.text("batch_id IS NOT NULL")
    op.create_index("jobs_by_batch", "jobs", ["batch_id", "id"], sqlite_where=within, postgresql_where=within)
    op.drop_index("audit_by_age", "audit")


def downgrade() -> None:
    """Take back."""
    op.create_index("audit_by_age", "audit", ["at"])
    op.drop_index("jobs_by_batch", "jobs")
    op.create_index("jobs_by_batch", "jobs", ["batch_id", "id"])
