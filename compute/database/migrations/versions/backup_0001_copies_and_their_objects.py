"""Copies of volumes and the objects that they are in"""

import sqlalchemy as sa
from alembic import op

revision = "backup_0001"
down_revision = None
branch_labels = ("backup",)
depends_on = "volume_0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "backup_store",
        sa.Column("container", sa.String(length=255), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("sweep", sa.BigInteger(), nullable=False),
        sa.Column("dirty_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("container", name=op.f("pk_backup_store")),
        sa.UniqueConstraint("project_id", name=op.f("uq_backup_store_project_id")),
    )
    op.create_index(op.f("ix_backup_store_dirty_us"), "backup_store", ["dirty_us"])
    op.create_table(
        "backup_object",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("container", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("is_stored", sa.Boolean(), nullable=False),
        sa.Column("claimed", sa.BigInteger(), nullable=False),
        sa.Column("refs", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["container"],
            ["backup_store.container"],
            name=op.f("fk_backup_object_container_backup_store"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_object")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_backup_object_container_digest", "backup_object", ["container", "digest"], unique=True
    )
    op.create_table(
        "backup_copy",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("container", sa.String(length=255), nullable=False),
        sa.Column("attempt", sa.String(length=64), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["container"],
            ["backup_store.container"],
            name=op.f("fk_backup_copy_container_backup_store"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_copy")),
    )
    op.create_index(op.f("ix_backup_copy_container"), "backup_copy", ["container"])
    op.create_table(
        "backup_page",
        sa.Column("copy_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("object_id", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["copy_id"],
            ["backup_copy.id"],
            ondelete="CASCADE",
            name=op.f("fk_backup_page_copy_id_backup_copy"),
        ),
        sa.ForeignKeyConstraint(
            ["object_id"], ["backup_object.id"], name=op.f("fk_backup_page_object_id_backup_object")
        ),
        sa.PrimaryKeyConstraint("copy_id", "number", name=op.f("pk_backup_page")),
    )
    op.create_index(op.f("ix_backup_page_object_id"), "backup_page", ["object_id"])
