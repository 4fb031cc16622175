"""What the loggers of services are set to"""

import sqlalchemy as sa
from alembic import op

revision = "volume_types_0002"
down_revision = "volume_types_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("volume_service", schema=None) as batch_op:
        batch_op.add_column(sa.Column("log_levels", sa.JSON(), server_default="{}", nullable=False))
    with op.batch_alter_table("volume_log_level", schema=None) as batch_op:
        batch_op.add_column(sa.Column("set_us", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
