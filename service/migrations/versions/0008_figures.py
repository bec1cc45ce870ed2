"""Figures of the jobs that have ended, and the trace that a job belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply."""
    op.drop_index("jobs_by_end", "jobs")
    op.add_column("jobs", sa.Column("traceparent", sa.String()))
    op.create_table("ended_jobs", sa.Column("job_id", sa.String(), primary_key=True))
    op.create_table(
        "figures",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("label", sa.String(), primary_key=True),
        sa.Column("detail", sa.String(), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sum_s", sa.Float(), nullable=False),
        sa.Column("buckets", sa.JSON(), nullable=False),
    )
    # Those that have ended already are counted too.
    op.execute(
        "INSERT INTO ended_jobs (job_id) SELECT id FROM jobs "
        "WHERE state IN ('succeeded', 'failed', 'cancelled', 'expired')"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("figures")
    op.drop_table("ended_jobs")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("traceparent")
    op.create_index("jobs_by_end", "jobs", ["finished_at"])
