"""Who has a volume, and whom it is offered to."""

import sqlalchemy as sa
from alembic import op

revision = "volume_0003"
down_revision = "volume_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "volume_attachment",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("volume_id", sa.String(length=64), nullable=False),
        sa.Column("is_shown", sa.Boolean(), nullable=False),
        sa.Column("instance_id", sa.String(length=64), nullable=True),
        sa.Column("host_name", sa.String(length=255), nullable=True),
        sa.Column("mountpoint", sa.String(length=255), nullable=True),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("export", sa.String(length=16), nullable=False),
        sa.Column("connector", sa.JSON(), nullable=True),
        sa.Column("connection", sa.JSON(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("attached_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
            name=op.f("fk_volume_attachment_volume_id_volume"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_attachment")),
    )
    for column in ("volume_id", "instance_id", "export"):
        op.create_index(f"ix_volume_attachment_{column}", "volume_attachment", [column])
    op.create_table(
        "volume_transfer",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("volume_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("key_hash", sa.String(length=128), nullable=False),
        sa.Column("keeps_snapshots", sa.Boolean(), nullable=False),
        sa.Column("source_project_id", sa.String(length=64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
            name=op.f("fk_volume_transfer_volume_id_volume"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_transfer")),
        sa.UniqueConstraint("volume_id", name=op.f("uq_volume_transfer_volume_id")),
    )
    op.create_index("ix_volume_transfer_source_project_id", "volume_transfer", ["source_project_id"])


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
