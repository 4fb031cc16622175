"""Keys from the environment, and what machines may see of a user."""

import pytest

from proxy.auth.users import User
from runtime.errors import AtollError
from tools.user import Keys, keys_from_environment, public_document


def test_both_keys_must_be_set() -> None:
    both = {"ATOLL_ACCESS_KEY": "A", "ATOLL_SECRET_KEY": "S"}
    assert keys_from_environment(both) == Keys("A", "S")
    for name in both:
        with pytest.raises(AtollError, match=f"{name} is not set"):
            keys_from_environment({**both, name: ""})


def test_the_secret_key_is_not_shown() -> None:
    user = User("ann", "AUTH_ann", "ANNKEY", "very-secret", "ann:ann", admin=True)
    document = public_document(user)
    assert "very-secret" not in str(document)
    assert document["access_key"] == "ANNKEY"
    assert document["admin"] is True
