"""The tables of volumes and snapshots"""

import sqlalchemy as sa
from alembic import op

revision = "volume_0001"
down_revision = None
branch_labels = ("volume",)
depends_on = "volume_types_0001"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "volume",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("previous_status", sa.String(length=255), nullable=True),
        sa.Column("attach_status", sa.String(length=255), nullable=False),
        sa.Column("migration_status", sa.String(length=255), nullable=True),
        sa.Column("volume_type_id", sa.String(length=64), nullable=True),
        sa.Column("zone", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("backend", sa.String(length=255), nullable=True),
        sa.Column("is_bootable", sa.Boolean(), nullable=False),
        sa.Column("is_encrypted", sa.Boolean(), nullable=False),
        sa.Column("is_multiattach", sa.Boolean(), nullable=False),
        sa.Column("consumes_quota", sa.Boolean(), nullable=False),
        sa.Column("snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("source_volume_id", sa.String(length=64), nullable=True),
        sa.Column("image_id", sa.String(length=64), nullable=True),
        sa.Column("group_id", sa.String(length=64), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("admin_meta", sa.JSON(), nullable=False),
        sa.Column("image_meta", sa.JSON(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.Column("launched_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["volume_type_id"], ["volume_type.id"], name=op.f("fk_volume_volume_type_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume")),
    )
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_group_id"), ["group_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_host"), ["host"], unique=False)
        batch_op.create_index(
            "ix_volume_project_id_created_us", ["project_id", "created_us"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_volume_snapshot_id"), ["snapshot_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_volume_source_volume_id"), ["source_volume_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_volume_status"), ["status"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_volume_type_id"), ["volume_type_id"], unique=False)

    op.create_table(
        "volume_snapshot",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("volume_id", sa.String(length=64), nullable=False),
        sa.Column("volume_type_id", sa.String(length=64), nullable=True),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("progress", sa.String(length=16), nullable=False),
        sa.Column("consumes_quota", sa.Boolean(), nullable=False),
        sa.Column("group_snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["volume_id"], ["volume.id"], name=op.f("fk_volume_snapshot_volume_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_snapshot")),
    )
    with op.batch_alter_table("volume_snapshot", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_volume_snapshot_group_snapshot_id"), ["group_snapshot_id"], unique=False
        )
        batch_op.create_index(
            "ix_volume_snapshot_project_id_created_us", ["project_id", "created_us"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_volume_snapshot_status"), ["status"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_snapshot_volume_id"), ["volume_id"], unique=False)


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
