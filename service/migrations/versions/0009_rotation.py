"""The secret that a webhook had before its present one, which signs along for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Apply."""
    op.add_column("webhooks", sa.Column("old_secret", sa.String()))
    op.add_column("webhooks", sa.Column("old_secret_until", sa.Float()))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("webhooks") as batch:
        batch.drop_column("old_secret_until")
        batch.drop_column("old_secret")
