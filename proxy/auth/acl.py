"""Swift container ACLs: X-Container-Read and X-Container-Write.

The grammar is that of the Swift manual ("Access Control Lists (ACLs)"): a comma separated list of
`.r:*`, `.r:host`, `.r:.domain`, `.r:-host` (who refers), `.rlistings` (they may list, too), and of
`account`, `account:user`, `account:*`, `*:user` and `*:*` (who is logged in). The owner of an account
needs no entry: whoever calls this decides that first.
"""

import dataclasses
from urllib.parse import urlsplit

from proxy.auth.errors import InvalidAcl
from proxy.auth.users import User

ACL_BYTES_MAX = 8192
ACL_ENTRIES_MAX = 512

_REFERRER_WORDS = frozenset((".r", ".ref", ".referer", ".referrer"))
_UNKNOWN_HOST = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Acl:
    """A parsed list. referrers: in their order, the last one that fits decides."""

    referrers: tuple[str, ...] = ()
    grants: frozenset[str] = frozenset()
    listings: bool = False
    text: str = ""


NO_ACL = Acl()


def parse_read_acl(text: str) -> Acl:
    """X-Container-Read; `text` of the result is its canonical form, to be kept and shown.

    Raises InvalidAcl.
    """
    return _parse(text, referrers_allowed=True)


def parse_write_acl(text: str) -> Acl:
    """X-Container-Write, where referrers have no place. Raises InvalidAcl."""
    return _parse(text, referrers_allowed=False)


def _parse(text: str, *, referrers_allowed: bool) -> Acl:
    entries = [entry for raw in text.split(",") if (entry := raw.strip())]
    _check_size(text, entries)
    referrers: list[str] = []
    grants: list[str] = []
    canonical: list[str] = []
    listings = False
    for entry in entries:
        first, colon, second = (part.strip() for part in entry.partition(":"))
        if first in _REFERRER_WORDS:
            if not referrers_allowed:
                raise InvalidAcl(f"referrers cannot be allowed to write: {entry!r}")
            referrers.append(_referrer(second, entry))
            canonical.append(f".r:{referrers[-1]}")
        elif entry == ".rlistings":
            listings = True
            canonical.append(entry)
        else:
            grants.append(_grant(first, colon, second, entry))
            canonical.append(grants[-1])
    return Acl(tuple(referrers), frozenset(grants), listings, ",".join(canonical))


def _check_size(text: str, entries: list[str]) -> None:
    if len(text) > ACL_BYTES_MAX:
        raise InvalidAcl(f"the list is longer than {ACL_BYTES_MAX} bytes")
    if len(entries) > ACL_ENTRIES_MAX:
        raise InvalidAcl(f"the list has more than {ACL_ENTRIES_MAX} entries")
    if not text.isprintable():
        raise InvalidAcl("the list has characters that cannot be printed")


def _referrer(host: str, entry: str) -> str:
    """The host of `.r:<host>` in canonical form: `*`, `host`, `.domain`, each maybe after `-`."""
    sign, name = ("-", host[1:].strip()) if host.startswith("-") else ("", host)
    if name.startswith("*."):
        name = name[1:]  # says the same
    name = name.lower()
    if name in ("", ".") or (name != "*" and any(char in name for char in " /:*")):
        raise InvalidAcl(f"no host in {entry!r}")
    return sign + name


def _grant(first: str, colon: str, second: str, entry: str) -> str:
    if first.startswith("."):
        raise InvalidAcl(f"unknown designator {first!r}")
    if not first or (colon and not second) or (first == "*" and not colon):
        raise InvalidAcl(f"not an account or account:user: {entry!r}")
    return f"{first}:{second}" if colon else first


def may_read(acl: Acl, user: User | None, referer: str | None = None) -> bool:
    """May `user` (None: nobody is logged in), coming from `referer`, read the objects?"""
    return _granted(acl, user) or _referrer_allowed(acl.referrers, referer)


def may_list(acl: Acl, user: User | None, referer: str | None = None) -> bool:
    """May they list the container? Referrers need `.rlistings` for it."""
    return _granted(acl, user) or (acl.listings and _referrer_allowed(acl.referrers, referer))


def may_write(acl: Acl, user: User | None) -> bool:
    """May `user` write and delete objects, `acl` being the write list?"""
    return _granted(acl, user)


def _granted(acl: Acl, user: User | None) -> bool:
    if user is None or not acl.grants:
        return False
    account, _, name = user.swift_login.partition(":")
    names = {*user.groups, f"{account}:*", f"*:{name}", "*:*"}
    names |= {f"{user.account}:{name}", f"{user.account}:*"}
    return not acl.grants.isdisjoint(names)


def _referrer_allowed(referrers: tuple[str, ...], referer: str | None) -> bool:
    if not referrers:
        return False
    host = _host_of(referer)
    allowed = False
    for entry in referrers:
        pattern = entry.removeprefix("-")
        if pattern in ("*", host) or (pattern[0] == "." and host.endswith(pattern)):
            allowed = not entry.startswith("-")
    return allowed


def _host_of(referer: str | None) -> str:
    try:
        return urlsplit(referer or "").hostname or _UNKNOWN_HOST
    except ValueError:  # an unclosed IPv6 bracket, say: the header is the client's to get wrong
        return _UNKNOWN_HOST
