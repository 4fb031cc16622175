"""The tables of volume types, quotas, services, messages and groups"""

import time
import uuid

import sqlalchemy as sa
from alembic import op

revision = "volume_types_0001"
down_revision = None
branch_labels = ("volume_types",)
depends_on = "0001"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "volume_group_type",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("group_specs", sa.JSON(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_group_type")),
        sa.UniqueConstraint("name", name=op.f("uq_volume_group_type_name")),
    )
    op.create_table(
        "volume_log_level",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("prefix", sa.String(length=255), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("host", "prefix", name=op.f("pk_volume_log_level")),
    )
    op.create_table(
        "volume_message",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=255), nullable=True),
        sa.Column("resource_type", sa.String(length=255), nullable=True),
        sa.Column("resource_id", sa.String(length=64), nullable=True),
        sa.Column("event_id", sa.String(length=255), nullable=False),
        sa.Column("action_id", sa.String(length=16), nullable=False),
        sa.Column("detail_id", sa.String(length=16), nullable=False),
        sa.Column("level", sa.String(length=255), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_message")),
    )
    with op.batch_alter_table("volume_message", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_message_expires_us"), ["expires_us"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_message_project_id"), ["project_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_volume_message_resource_id"), ["resource_id"], unique=False
        )

    op.create_table(
        "volume_qos_specs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("consumer", sa.String(length=255), nullable=False),
        sa.Column("specs", sa.JSON(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_qos_specs")),
        sa.UniqueConstraint("name", name=op.f("uq_volume_qos_specs_name")),
    )
    op.create_table(
        "volume_quota",
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=300), nullable=False),
        sa.Column("limit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "resource", name=op.f("pk_volume_quota")),
    )
    op.create_table(
        "volume_quota_class",
        sa.Column("class_name", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=300), nullable=False),
        sa.Column("limit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("class_name", "resource", name=op.f("pk_volume_quota_class")),
    )
    op.create_table(
        "volume_service",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("binary", sa.String(length=64), nullable=False),
        sa.Column("zone", sa.String(length=255), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(length=255), nullable=True),
        sa.Column("is_frozen", sa.Boolean(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("free_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "binary", name=op.f("pk_volume_service")),
    )
    op.create_table(
        "volume_group",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=255), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("group_type_id", sa.String(length=64), nullable=False),
        sa.Column("group_snapshot_id", sa.String(length=64), nullable=True),
        sa.Column("source_group_id", sa.String(length=64), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_type_id"], ["volume_group_type.id"], name=op.f("fk_volume_group_group_type_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_group")),
    )
    with op.batch_alter_table("volume_group", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_volume_group_group_type_id"), ["group_type_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_volume_group_project_id"), ["project_id"], unique=False)

    op.create_table(
        "volume_type",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("extra_specs", sa.JSON(), nullable=False),
        sa.Column("qos_specs_id", sa.String(length=64), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["qos_specs_id"], ["volume_qos_specs.id"], name=op.f("fk_volume_type_qos_specs_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_type")),
        sa.UniqueConstraint("name", name=op.f("uq_volume_type_name")),
    )
    with op.batch_alter_table("volume_type", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_type_qos_specs_id"), ["qos_specs_id"], unique=False)

    op.create_table(
        "volume_default_type",
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("type_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["type_id"], ["volume_type.id"], name=op.f("fk_volume_default_type_type_id")
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_volume_default_type")),
    )
    with op.batch_alter_table("volume_default_type", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_default_type_type_id"), ["type_id"], unique=False)

    op.create_table(
        "volume_group_snapshot",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("group_type_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["volume_group.id"], name=op.f("fk_volume_group_snapshot_group_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume_group_snapshot")),
    )
    with op.batch_alter_table("volume_group_snapshot", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_volume_group_snapshot_group_id"), ["group_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_volume_group_snapshot_project_id"), ["project_id"], unique=False
        )

    op.create_table(
        "volume_group_volume_type",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("type_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["volume_group.id"],
            name=op.f("fk_volume_group_volume_type_group_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["type_id"], ["volume_type.id"], name=op.f("fk_volume_group_volume_type_type_id")
        ),
        sa.PrimaryKeyConstraint("group_id", "type_id", name=op.f("pk_volume_group_volume_type")),
    )
    with op.batch_alter_table("volume_group_volume_type", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_volume_group_volume_type_type_id"), ["type_id"], unique=False
        )

    op.create_table(
        "volume_type_access",
        sa.Column("type_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["type_id"],
            ["volume_type.id"],
            name=op.f("fk_volume_type_access_type_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("type_id", "project_id", name=op.f("pk_volume_type_access")),
    )
    op.create_table(
        "volume_type_encryption",
        sa.Column("type_id", sa.String(length=64), nullable=False),
        sa.Column("encryption_id", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("control_location", sa.String(length=255), nullable=False),
        sa.Column("cipher", sa.String(length=255), nullable=True),
        sa.Column("key_size", sa.BigInteger(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["type_id"],
            ["volume_type.id"],
            name=op.f("fk_volume_type_encryption_type_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("type_id", name=op.f("pk_volume_type_encryption")),
        sa.UniqueConstraint("encryption_id", name=op.f("uq_volume_type_encryption_encryption_id")),
    )

    _first_type()


def _first_type() -> None:
    """As upstream, a new cloud has one volume type."""
    table = sa.table(
        "volume_type",
        *(sa.column(name) for name in ("id", "name", "description", "is_public", "extra_specs")),
        sa.column("created_us"),
    )
    row = {
        "id": str(uuid.uuid4()),
        "name": "__DEFAULT__",
        "description": "Default Volume Type",
        "is_public": True,
        "extra_specs": sa.text("'{}'"),
        "created_us": time.time_ns() // 1000,
    }
    op.execute(table.insert().values(row))


def downgrade() -> None:
    """Not offered: restore the backup that was made before."""
    raise NotImplementedError
