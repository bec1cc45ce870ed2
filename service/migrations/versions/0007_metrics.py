"""Jobs by the time of their end."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply."""
    op.create_index("jobs_by_end", "jobs", ["finished_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("jobs_by_end", "jobs")
