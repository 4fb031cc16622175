"""What lets others act for a user: credentials, application credentials, trusts, OAuth1."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from compute.database.base import ID_CHARS, NAME_CHARS, Base, Extra


class Credential(Extra, Base):
    """A secret of a user's: EC2 keys, a TOTP seed, a certificate. blob: encrypted.

    access_hash: SHA-256 of the access key of EC2 keys, by which they are found.
    """

    __tablename__ = "credential"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(NAME_CHARS))
    access_hash: Mapped[str | None] = mapped_column(String(ID_CHARS), unique=True)
    blob: Mapped[bytes] = mapped_column(LargeBinary)


class ApplicationCredential(Base):
    """A secret with some of its user's roles on one project. roles: their ids."""

    __tablename__ = "application_credential"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    user_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"))
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    secret_hash: Mapped[str] = mapped_column(String(NAME_CHARS))
    description: Mapped[str | None] = mapped_column(Text)
    expires_at_us: Mapped[int | None] = mapped_column(BigInteger)
    unrestricted: Mapped[bool]


class ApplicationCredentialRole(Base):
    """A role of an application credential."""

    __tablename__ = "application_credential_role"

    application_credential_id: Mapped[str] = mapped_column(
        ForeignKey("application_credential.id", ondelete="CASCADE"), primary_key=True
    )
    role_id: Mapped[str] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), primary_key=True)


class AccessRule(Base):
    """One kind of request that application credentials of a user may be limited to."""

    __tablename__ = "access_rule"
    __table_args__ = (UniqueConstraint("user_id", "service", "method", "path"),)

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"))
    service: Mapped[str] = mapped_column(String(NAME_CHARS))
    method: Mapped[str] = mapped_column(String(16))
    path: Mapped[str] = mapped_column(String(1024))


class ApplicationCredentialRule(Base):
    """An access rule of an application credential; a rule in use can't be deleted."""

    __tablename__ = "application_credential_rule"

    application_credential_id: Mapped[str] = mapped_column(
        ForeignKey("application_credential.id", ondelete="CASCADE"), primary_key=True
    )
    access_rule_id: Mapped[str] = mapped_column(ForeignKey("access_rule.id"), primary_key=True)


class Trust(Extra, Base):
    """The trustor lets the trustee act with some roles on one project."""

    __tablename__ = "trust"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    trustor_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"))
    trustee_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    impersonation: Mapped[bool]
    expires_at_us: Mapped[int | None] = mapped_column(BigInteger)
    remaining_uses: Mapped[int | None]
    allow_redelegation: Mapped[bool]
    redelegation_count: Mapped[int]
    redelegated_trust_id: Mapped[str | None] = mapped_column(ForeignKey("trust.id", ondelete="CASCADE"))


class TrustRole(Base):
    """A role of a trust."""

    __tablename__ = "trust_role"

    trust_id: Mapped[str] = mapped_column(ForeignKey("trust.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[str] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), primary_key=True)


class Consumer(Extra, Base):
    """An OAuth1 consumer. secret: encrypted."""

    __tablename__ = "oauth1_consumer"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    description: Mapped[str | None] = mapped_column(Text)
    secret: Mapped[bytes] = mapped_column(LargeBinary)


class OAuthToken(Base):
    """An OAuth1 request token (is_access false) or access token. role_ids: what was authorized."""

    __tablename__ = "oauth1_token"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    is_access: Mapped[bool]
    consumer_id: Mapped[str] = mapped_column(ForeignKey("oauth1_consumer.id", ondelete="CASCADE"))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"))
    verifier: Mapped[str | None] = mapped_column(String(64))
    role_ids: Mapped[list[Any]] = mapped_column(default=list)
    expires_at_us: Mapped[int | None] = mapped_column(BigInteger)
