"""OAuth 1.0a (RFC 5849), as far as Keystone uses it: HMAC-SHA1, request and access tokens."""

import base64
import hashlib
import hmac
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from sqlalchemy import delete
from sqlalchemy.orm import Session

from compute.database.engine import NotUnique
from compute.identity.call import Identity
from compute.identity.errors import unauthorized
from compute.identity.instants import US
from compute.identity.models.access import Consumer, OAuthToken
from compute.identity.models.tokens import UsedOnce
from compute.identity.tokens.methods import Proof
from compute.server.request import Request

CLOCK_SKEW_S: Final = 600
_FORM: Final = "application/x-www-form-urlencoded"


def encoded(text: str) -> str:
    """Percent encoding as RFC 5849, 3.6 has it."""
    return quote(text, safe="-._~")


def header_parameters(authorization: str) -> dict[str, str]:
    """What the Authorization header says; empty for another scheme."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "oauth":
        return {}
    pairs = (part.strip().partition("=") for part in rest.split(","))
    return {unquote(name): unquote(value.strip('"')) for name, _, value in pairs if name}


def base_string(method: str, url: str, parameters: list[tuple[str, str]]) -> str:
    """What is signed: method, URL without its query, all parameters in order (RFC 5849, 3.4.1)."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    pairs = sorted((encoded(k), encoded(v)) for k, v in [*parameters, *query])
    text = "&".join(f"{name}={value}" for name, value in pairs)
    bare = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}"
    return "&".join((method.upper(), encoded(bare), encoded(text)))


def signature(text: str, consumer_secret: str, token_secret: str) -> str:
    """HMAC-SHA1, base64."""
    key = f"{encoded(consumer_secret)}&{encoded(token_secret)}".encode()
    return base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha1)).decode()


def verified(identity: Identity, request: Request, token_secret: str = "") -> dict[str, str]:
    """The header's parameters, if its signature is right and new. Raises Unauthorized."""
    given = header_parameters(request.headers.get("Authorization", ""))
    if given.get("oauth_signature_method") != "HMAC-SHA1" or "oauth_consumer_key" not in given:
        raise unauthorized()
    with identity.database.read() as session:
        consumer = session.get(Consumer, given["oauth_consumer_key"])
    if consumer is None:
        raise unauthorized()
    secret = identity.sealer.open(consumer.secret).decode()
    query = f"?{request.query_text}" if request.query_text else ""
    url = f"{request.base}{request.path}{query}"
    signed = [(k, v) for k, v in given.items() if k not in ("realm", "oauth_signature")]
    if request.headers.get("Content-Type", "").startswith(_FORM):
        signed += parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)
    right = signature(base_string(request.method, url, signed), secret, token_secret)
    if not hmac.compare_digest(right, given.get("oauth_signature", "")):
        raise unauthorized()
    _use_nonce(identity, given)
    return given


def _use_nonce(identity: Identity, given: dict[str, str]) -> None:
    """Each nonce once within the time for which a timestamp is taken. Raises Unauthorized."""
    stamp, nonce, now_us = (
        given.get("oauth_timestamp", ""),
        given.get("oauth_nonce", ""),
        identity.now_us(),
    )
    if not stamp.isdigit() or abs(int(stamp) - now_us // US) > CLOCK_SKEW_S or not nonce:
        raise unauthorized()
    what = hashlib.sha256(f"{given['oauth_consumer_key']} {stamp} {nonce}".encode()).hexdigest()
    try:
        with identity.database.write("identity", changes=False) as session:
            session.execute(delete(UsedOnce).where(UsedOnce.until_us < now_us))
            until_us = now_us + 2 * CLOCK_SKEW_S * US
            session.add(UsedOnce(what=f"oauth1 {what}", until_us=until_us))
    except NotUnique as error:
        raise unauthorized() from error


def live_token(session: Session, ident: str, now_us: int, *, is_access: bool) -> OAuthToken | None:
    """A request or access token that has not expired."""
    token: OAuthToken | None = session.get(OAuthToken, ident)
    if token is None or token.is_access is not is_access:
        return None
    return None if token.expires_at_us is not None and token.expires_at_us <= now_us else token


def by_access_token(identity: Identity, request: Request) -> Proof:
    """Authentication by a request that an access token has signed. Raises Unauthorized."""
    given: dict[str, Any] = header_parameters(request.headers.get("Authorization", ""))
    with identity.database.read() as session:
        token = live_token(session, given.get("oauth_token", ""), identity.now_us(), is_access=True)
    if token is None or token.user_id is None:
        raise unauthorized()
    verified(identity, request, identity.sealer.open(token.secret).decode())
    if token.consumer_id != given["oauth_consumer_key"]:
        raise unauthorized()
    return Proof(token.user_id, access_token=token.id, project_id=token.project_id)
