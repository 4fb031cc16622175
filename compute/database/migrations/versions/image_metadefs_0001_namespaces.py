"""The tables of metadefs, and the types of resources that upstream knows from the start."""

import time

import sqlalchemy as sa
from alembic import op

revision = "image_metadefs_0001"
down_revision = None
branch_labels = ("metadefs",)
depends_on = "0001"

RESOURCE_TYPES = (
    "OS::Cinder::Volume",
    "OS::Glance::Image",
    "OS::Nova::Aggregate",
    "OS::Nova::Flavor",
    "OS::Nova::Server",
    "OS::Trove::Instance",
)


def _dates() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created_us", "updated_us")]


def _item(name: str, *columns: sa.Column[object], unique: bool = True) -> None:
    constraints: list[sa.Constraint] = [
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["metadef_namespace.id"],
            name=op.f(f"fk_{name}_namespace_id"),
            ondelete="CASCADE",
        ),
    ]
    if unique:
        constraints.append(
            sa.UniqueConstraint("namespace_id", "name", name=op.f(f"uq_{name}_namespace_id_name"))
        )
    op.create_table(
        name,
        *columns,
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("namespace_id", sa.String(length=64), nullable=False),
        *_dates(),
        *constraints,
    )


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "metadef_namespace",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=80), nullable=False),
        sa.Column("display_name", sa.String(length=80), nullable=True),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        *_dates(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metadef_namespace")),
        sa.UniqueConstraint("namespace", name=op.f("uq_metadef_namespace_namespace")),
    )
    _item(
        "metadef_object",
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("required", sa.JSON(), nullable=True),
        sa.Column("properties", sa.JSON(), nullable=True),
    )
    _item("metadef_property", sa.Column("definition", sa.JSON(), nullable=False))
    _item("metadef_tag", unique=False)
    op.create_index(
        "uq_metadef_tag_namespace_id",
        "metadef_tag",
        ["namespace_id", sa.text("lower(name)")],
        unique=True,
    )
    _item(
        "metadef_association",
        sa.Column("prefix", sa.String(length=80), nullable=True),
        sa.Column("properties_target", sa.String(length=80), nullable=True),
    )
    types = op.create_table(
        "metadef_resource_type",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        *_dates(),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_metadef_resource_type")),
    )
    now_us = time.time_ns() // 1000
    op.bulk_insert(
        types,
        [
            {"name": name, "protected": True, "created_us": now_us, "updated_us": now_us}
            for name in RESOURCE_TYPES
        ],
    )
