"""Devices that tenants make, and what was measured on them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "devices",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False, server_default="default"),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("runtime", sa.String(), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    op.create_index("devices_by_name", "devices", ["tenant", "name"], unique=True)
    op.create_table(
        "uploaded_profiles",
        sa.Column("device_id", sa.String(), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("supernet", sa.String(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    op.create_index("uploaded_profiles_by_version", "uploaded_profiles", ["device_id", "supernet", "version"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("uploaded_profiles")
    op.drop_table("devices")
