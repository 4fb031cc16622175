"""The error table: exhaustive, and an unknown error tells nothing."""

from collections.abc import Iterator

import pytest

from proxy.auth.errors import AuthError, InvalidAcl, InvalidToken
from proxy.core import errors as core
from proxy.core.errors import StoreError
from proxy.swift.errors import ERRORS, SwiftError, answer_for, method_not_allowed, phrase


def subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for child in base.__subclasses__():
        yield from subclasses(child)


@pytest.mark.parametrize("base", [StoreError, AuthError])
def test_every_domain_error_is_in_the_table(base: type[Exception]) -> None:
    named = {error for error in subclasses(base) if error.__module__.startswith("proxy.")}
    assert named - ERRORS.keys() == set()


def test_the_table_has_no_impossible_status() -> None:
    assert all(phrase(answer.status) for answer in ERRORS.values())


def test_an_unknown_error_is_500_without_text() -> None:
    answer = answer_for(RuntimeError("the secret is 42"))
    assert (answer.status, answer.text, answer.headers) == (500, "", {})


def test_an_unlisted_subclass_is_unknown_too() -> None:
    class Unlisted(Exception):
        pass

    assert answer_for(Unlisted("detail")).status == 500


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (core.NoSuchContainer("c"), 404),
        (core.ContainerNotEmpty("c"), 409),
        (core.PreconditionFailed("If-Match"), 412),
        (core.ObjectTooLarge(2, 1), 413),
        (core.BadDigest("md5"), 422),
        (core.IncompleteBody(), 499),
        (core.Full(), 507),
        (core.NotSupported(), 501),
        (core.BadReference(), 409),
        (SwiftError(406), 406),
    ],
)
def test_statuses(error: Exception, status: int) -> None:
    assert answer_for(error).status == status


def test_headers_that_an_answer_owes_to_its_error() -> None:
    assert answer_for(core.RangeNotSatisfiable(7)).headers == {"Content-Range": "bytes */7"}
    assert answer_for(core.Unavailable()).headers == {"Retry-After": "1"}
    assert "Www-Authenticate" in answer_for(InvalidToken()).headers
    assert method_not_allowed(("GET", "HEAD")).headers == {"Allow": "GET, HEAD"}


def test_a_bad_acl_says_what_is_wrong_with_it() -> None:
    assert ".nonsense" in answer_for(InvalidAcl("unknown designator '.nonsense'")).text
