"""Backups of volumes"""

import sqlalchemy as sa
from alembic import op

revision = "backup_0002"
down_revision = "backup_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "volume_backup",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("volume_id", sa.String(length=64), nullable=False),
        sa.Column("snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("container", sa.String(length=255), nullable=True),
        sa.Column("zone", sa.String(length=255), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("fail_reason", sa.Text(), nullable=True),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("store", sa.String(length=255), nullable=True),
        sa.Column("copy_id", sa.String(length=64), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("is_import", sa.Boolean(), nullable=False),
        sa.Column("restore_volume_id", sa.String(length=64), nullable=True),
        sa.Column("restore_new", sa.Boolean(), nullable=False),
        sa.Column("data_us", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_backup")),
    )
    for column in ("volume_id", "parent_id", "host", "status"):
        op.create_index(op.f(f"ix_volume_backup_{column}"), "volume_backup", [column])
    op.create_index(
        "ix_volume_backup_project_id_created_us", "volume_backup", ["project_id", "created_us"]
    )
