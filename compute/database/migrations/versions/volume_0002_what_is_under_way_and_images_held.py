"""What is under way with a volume, and images whose bytes volumes stand on."""

import sqlalchemy as sa
from alembic import op

revision = "volume_0002"
down_revision = "volume_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.add_column(sa.Column("task", sa.JSON(), nullable=True))
    op.create_table(
        "volume_image_hold",
        sa.Column("volume_id", sa.String(length=64), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("backend", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("volume_id", name=op.f("pk_volume_image_hold")),
    )


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
