"""The tables of images"""

import sqlalchemy as sa
from alembic import op

revision = "image_0001"
down_revision = None
branch_labels = ("image",)
depends_on = "0001"


def _of_image(name: str, *columns: sa.Column[object], key: str) -> None:
    op.create_table(
        name,
        sa.Column("image_id", sa.String(length=64), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f(f"fk_{name}_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", key, name=op.f(f"pk_{name}")),
    )


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "image",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("disk_format", sa.String(length=20), nullable=True),
        sa.Column("container_format", sa.String(length=20), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("virtual_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("min_disk", sa.Integer(), nullable=False),
        sa.Column("min_ram", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.String(length=32), nullable=True),
        sa.Column("os_hash_algo", sa.String(length=64), nullable=True),
        sa.Column("os_hash_value", sa.String(length=128), nullable=True),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("os_hidden", sa.Boolean(), nullable=False),
        sa.Column("importing_to", sa.Text(), nullable=True),
        sa.Column("failed_stores", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
    )
    op.create_index("ix_image_owner_created_us", "image", ["owner", "created_us"])
    op.create_index("ix_image_visibility_created_us", "image", ["visibility", "created_us"])
    _of_image(
        "image_property",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        key="name",
    )
    _of_image("image_tag", sa.Column("name", sa.String(length=255), nullable=False), key="name")
    _of_image(
        "image_member",
        sa.Column("member_id", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        key="member_id",
    )
    op.create_index(op.f("ix_image_member_member_id"), "image_member", ["member_id"])
    _of_image(
        "image_copy",
        sa.Column("store", sa.String(length=64), nullable=False),
        sa.Column("container", sa.String(length=255), nullable=False),
        sa.Column("prefix", sa.String(length=255), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        key="store",
    )
    op.create_table(
        "image_effort",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("container", sa.String(length=255), nullable=False),
        sa.Column("prefix", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_effort")),
    )
    op.create_index(op.f("ix_image_effort_host"), "image_effort", ["host"])
    op.create_index(op.f("ix_image_effort_image_id"), "image_effort", ["image_id"])
    op.create_table(
        "image_hold",
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("pieces", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("holder", "image_id", name=op.f("pk_image_hold")),
    )
    op.create_index(op.f("ix_image_hold_image_id"), "image_hold", ["image_id"])
