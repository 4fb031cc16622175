"""How many objects a backup is in"""

import sqlalchemy as sa
from alembic import op

revision = "backup_0003"
down_revision = "backup_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("volume_backup", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("object_count", sa.BigInteger(), server_default="0", nullable=False)
        )


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
