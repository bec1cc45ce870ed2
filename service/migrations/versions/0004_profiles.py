"""Profiles that machines share."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "device_profiles",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("supernet", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    op.create_index("device_profiles_by_device", "device_profiles", ["device", "supernet", "created_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("device_profiles")
