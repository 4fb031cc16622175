"""What is known of copies and of the objects that they are in. Private to the engine."""

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base

NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts by itself in columns of its one integer type alone."""


class BackupStore(Base):
    """A container with all chunks of a project. sweep: how many sweeps have begun.

    dirty_us: since when there may be something to sweep; None for not.
    """

    __tablename__ = "backup_store"

    container: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(ID_CHARS), unique=True)
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)
    sweep: Mapped[int] = mapped_column(BigInteger, default=0)
    dirty_us: Mapped[int | None] = mapped_column(BigInteger, index=True)


class BackupObject(Base):
    """A chunk or page. claimed: the number of the sweep that was the last when it was last relied upon.

    refs: of a page, the ids of its chunks, 8 bytes each; None for a chunk.
    """

    __tablename__ = "backup_object"
    __table_args__ = (
        Index("uq_backup_object_container_digest", "container", "digest", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(NUMBER, primary_key=True, autoincrement=True)
    container: Mapped[str] = mapped_column(ForeignKey("backup_store.container"))
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    tag: Mapped[bytes] = mapped_column(LargeBinary)
    is_stored: Mapped[bool] = mapped_column(default=False)
    claimed: Mapped[int] = mapped_column(BigInteger)
    refs: Mapped[bytes | None] = mapped_column(LargeBinary)


class BackupCopy(Base):
    """A copy of a volume. attempt: of the process that makes it, "" when it is whole.

    since: the number of the sweep that was the last when it was begun.
    """

    __tablename__ = "backup_copy"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    container: Mapped[str] = mapped_column(ForeignKey("backup_store.container"), index=True)
    attempt: Mapped[str] = mapped_column(String(ID_CHARS))
    since: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class BackupPage(Base):
    """A page of a copy, which may be one of many copies."""

    __tablename__ = "backup_page"

    copy_id: Mapped[str] = mapped_column(
        ForeignKey("backup_copy.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    object_id: Mapped[int] = mapped_column(NUMBER, ForeignKey("backup_object.id"), index=True)
