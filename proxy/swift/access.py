"""Who may do what in Swift: the owner of an account everything, others what a container's lists say.

`may` is the pure decision; `open_container` fetches what it needs and is how every verb comes by its
container. Tokens are `proxy/auth/tempauth.py`'s, lists `proxy/auth/acl.py`'s, signed URLs are
`tempurl.py`'s.
"""

import dataclasses
import enum
from urllib.parse import quote

from proxy.auth import acl
from proxy.auth.errors import InvalidAcl
from proxy.auth.users import User
from proxy.core.contract import Store
from proxy.core.errors import NoSuchContainer
from proxy.core.types import Container
from proxy.swift.errors import SwiftError

READ_ACL = "swift.read-acl"
WRITE_ACL = "swift.write-acl"


class Need(enum.Enum):
    """What a verb wants to do with a container."""

    READ = "read its objects"
    LIST = "list it, see its metadata"
    WRITE = "write and delete its objects"
    OWN = "change or delete itself"


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What a signed URL lets its bearer do: `need`, in the container or (container "") the account
    whose key signed it. The signature has tied the request to its object already."""

    account: str
    container: str
    need: Need

    def covers(self, account: str, container: str, need: Need) -> bool:
        """True for what the key's holder has allowed."""
        return (self.account, self.need) == (account, need) and self.container in ("", container)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user, the bearer of a signed URL, or nobody known; and from which page."""

    user: User | None = None
    grant: Grant | None = None
    referer: str | None = None

    def owns(self, account: str) -> bool:
        """True for the account's own user and for administrators."""
        return self.user is not None and (self.user.admin or self.user.account == account)


def denied(caller: Caller, account: str) -> SwiftError:
    """403 for a known user, else 401 with the challenge that says where to log in."""
    if caller.user is not None:
        return SwiftError(403)
    realm = quote(account or "unknown", safe="")
    return SwiftError(401, headers={"Www-Authenticate": f'Swift realm="{realm}"'})


def require_owner(caller: Caller, account: str) -> None:
    """Raises SwiftError 401, 403 for all but the account's owner."""
    if not caller.owns(account):
        raise denied(caller, account)


def may(caller: Caller, container: Container, need: Need) -> bool:
    """May the caller, who does not own the account, do this with the container?"""
    read_list = stored_acl(container, READ_ACL)
    if need is Need.READ:
        return acl.may_read(read_list, caller.user, caller.referer)
    if need is Need.LIST:
        return acl.may_list(read_list, caller.user, caller.referer)
    if need is Need.WRITE:
        return acl.may_write(stored_acl(container, WRITE_ACL), caller.user)
    return False


def stored_acl(container: Container, setting: str) -> acl.Acl:
    """A list as the container's row holds it; one that cannot be read grants nothing."""
    text = container.head.system.get(setting, "")
    if not text:
        return acl.NO_ACL
    try:
        return acl.parse_read_acl(text) if setting == READ_ACL else acl.parse_write_acl(text)
    except InvalidAcl:  # written by a version with another grammar: closed is the safe reading
        return acl.NO_ACL


async def open_container(
    store: Store, caller: Caller, account: str, name: str, need: Need, *, fresh: bool = False
) -> Container:
    """The container, for a caller who may. Raises SwiftError 401, 403, NoSuchContainer.

    To those who own nothing here a missing container looks like a closed one.
    """
    if caller.owns(account) or (caller.grant and caller.grant.covers(account, name, need)):
        return await store.container(account, name, fresh=fresh)
    try:
        container = await store.container(account, name, fresh=True)
    except NoSuchContainer as error:
        raise denied(caller, account) from error
    if not may(caller, container, need):
        raise denied(caller, account)
    return container
