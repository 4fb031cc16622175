"""S3 requests signed with EC2 keys of a Keystone, which alone knows the secrets: it is asked each time.

The usual checks (dates, headers, what must be signed) run first, with a secret that nobody has; what
they would have signed then goes to Keystone with the signature that was sent (`/v3/s3tokens`). Bodies
whose chunks are signed are refused: their signatures need the secret itself.
"""

from proxy.auth.admission import S3Admission
from proxy.auth.errors import SignatureMismatch, UnsupportedAlgorithm
from proxy.auth.keystone import Keystone
from proxy.auth.payload import payload_mode, payload_mode_without_v4
from proxy.auth.types import Authenticated, RequestView
from proxy.auth.users import User
from runtime.randomness import Randomness

SECRET_BYTES = 32


class _Anyone:
    """A directory that has a user for every key, all with one secret that fits no signature."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def by_access_key(self, access_key: str) -> User | None:
        return User("", "", access_key, self._secret, "")

    def by_swift_login(self, login: str) -> User | None:
        return None

    def users(self) -> tuple[User, ...]:
        return ()


class KeystoneKeys:
    """Admits requests that the store's own users have not signed. One per process."""

    def __init__(self, keystone: Keystone, randomness: Randomness) -> None:
        self._keystone = keystone
        self._admission = S3Admission(_Anyone(randomness.token(SECRET_BYTES).hex()))

    async def admit(self, request: RequestView, host_bucket: str | None = None) -> Authenticated:
        """Who signed it. Raises what S3Admission raises, KeystoneAway, UnsupportedAlgorithm."""
        try:
            self._admission.admit(request, host_bucket)
        except SignatureMismatch as unproved:
            return await self._ask(request, unproved)
        raise AssertionError("only signed requests come here, and none fits a secret that nobody has")

    async def _ask(self, request: RequestView, unproved: SignatureMismatch) -> Authenticated:
        """The last line of a canonical request is the body's mode or hash, as it was signed."""
        if unproved.canonical_request:
            mode = payload_mode(unproved.canonical_request.rpartition("\n")[2])
        else:
            mode = payload_mode_without_v4(request.headers)
        if mode.has_signed_chunks:
            raise UnsupportedAlgorithm(f"{mode.kind.value} with a key of Keystone's")
        user = await self._keystone.user_of_signature(
            unproved.access_key,
            unproved.string_to_sign,
            unproved.signature_provided,
            request.now_s,
        )
        if user is None:
            raise unproved
        return Authenticated(user, mode, b"", unproved.signature_provided, "", "")
