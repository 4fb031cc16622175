"""What Keystone has and this server has not: said with 501, so that nobody looks for a fault."""

from compute.identity.call import Call
from compute.server.errors import Absent
from compute.server.request import Answer


def federation(_call: Call) -> Answer:
    """OS-FEDERATION: OAuth1 is what this server has of its kind."""
    raise Absent("Federation (OS-FEDERATION) is not available on this server; OAuth1 is.")


def oauth2(_call: Call) -> Answer:
    """OS-OAUTH2."""
    raise Absent("OAuth 2.0 client credentials (OS-OAUTH2) are not available on this server.")


def simple_cert(_call: Call) -> Answer:
    """OS-SIMPLE-CERT was for PKI tokens, which Keystone itself has given up."""
    raise Absent("There are no PKI tokens, so there are no certificates of them.")


_METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE")
_FEDERATION = "/v3/OS-FEDERATION/{a}"
OPEN_ROUTES = [
    *(
        (method, _FEDERATION + more, federation)
        for method in _METHODS
        for more in ("", "/{b}", "/{b}/{c}", "/{b}/{c}/{d}", "/{b}/{c}/{d}/{e}")
    ),
    ("POST", "/v3/OS-OAUTH2/token", oauth2),
    ("GET", "/v3/OS-SIMPLE-CERT/{a}", simple_cert),
]
