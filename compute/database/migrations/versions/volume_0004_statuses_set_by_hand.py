"""Statuses that an administrator set: they begin no work."""

import sqlalchemy as sa
from alembic import op

revision = "volume_0004"
down_revision = "volume_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for table in ("volume", "volume_snapshot"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(
                sa.Column("status_by_hand", sa.Boolean(), nullable=False, server_default=sa.false())
            )


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
