"""The keys of tokens, what revokes them, and what must not be used twice."""

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base


class TokenKey(Base):
    """A Fernet key, encrypted; the highest number makes new tokens, the others verify old ones."""

    __tablename__ = "token_key"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at_us: Mapped[int] = mapped_column(BigInteger)


class Revocation(Base):
    """Tokens issued up to issued_before_us that fit all that is given are revoked."""

    __tablename__ = "revocation"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    user_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    project_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    domain_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    trust_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    consumer_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    access_token_id: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    audit_id: Mapped[str | None] = mapped_column(String(32), index=True)
    audit_chain_id: Mapped[str | None] = mapped_column(String(32), index=True)
    issued_before_us: Mapped[int] = mapped_column(BigInteger)
    revoked_at_us: Mapped[int] = mapped_column(BigInteger, index=True)


class UsedOnce(Base):
    """A one-time password or OAuth1 nonce that was used, kept until it would be refused by its age."""

    __tablename__ = "used_once"

    what: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    until_us: Mapped[int] = mapped_column(BigInteger, index=True)
