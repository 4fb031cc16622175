"""Protected properties: who may create, read, update and delete them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from compute.image.protections import load
from compute.image.settings import Settings
from compute.objects.memory import MemoryStore
from runtime.errors import AtollError
from tests.compute.image.cloud import V2_1, Pictures, started

ROLES = """
[x_billing_.*]
create = Billing
read = Billing,member
update = Billing
delete = billing

[^x_secret$]
create = admin
read = admin
update = admin
delete = !

[x_closed]
create = !
read = @

[^[a-w].*]
create = @
read = @
update = @
delete = @
"""
POLICIES = """
[x_owned]
create = role:billing
read = @
update = default
delete = !
"""


@contextlib.asynccontextmanager
async def protected(
    folder: Path, database: str, text: str, form: str = "roles"
) -> AsyncIterator[Pictures]:
    """A process with a file of protections."""
    path = folder / "protections"
    path.write_text(text)
    settings = Settings(property_protection_file=str(path), property_protection_rule_format=form)
    async with started(folder, database, MemoryStore(), settings) as pictures:
        yield pictures


def patch(operation: str, name: str, value: str | None = None) -> list[dict[str, str]]:
    """One operation on a property."""
    said = {"op": operation, "path": f"/{name}"}
    return [said if value is None else {**said, "value": value}]


async def test_by_roles(database: str, tmp_path: Path) -> None:
    async with protected(tmp_path, database, ROLES) as pictures:
        await pictures.cloud.make("role", name="billing")
        _, member = await pictures.user("member")
        _, clerk = await pictures.user("member", "billing")
        fields = {"name": "n", "x_billing_code": "1"}
        said = await pictures.refused(403, "POST", "/images", fields, token=member)
        assert said == "Attribute 'x_billing_code' is reserved."
        for name in ("x_closed", "x_secret", "xyz"):
            await pictures.refused(403, "POST", "/images", {name: "1"}, token=member)
        made = await pictures.make(token=clerk, x_billing_code="1", kind="plain")
        assert (made["x_billing_code"], made["kind"]) == ("1", "plain")
        path = f"/images/{made['id']}"
        body = patch("replace", "x_billing_code", "2")
        changed = (await pictures.ok("PATCH", path, body, kind=V2_1, token=clerk)).body
        assert changed["x_billing_code"] == "2"
        body = patch("remove", "x_billing_code")
        changed = (await pictures.ok("PATCH", path, body, kind=V2_1, token=clerk)).body
        assert "x_billing_code" not in changed


async def test_what_can_not_be_read_is_not_there(database: str, tmp_path: Path) -> None:
    async with protected(tmp_path, database, ROLES) as pictures:
        project, member = await pictures.user("member")
        made = await pictures.make(owner=project, x_secret="s", visibility="public")
        path = f"/images/{made['id']}"
        assert made["x_secret"] == "s"
        assert "x_secret" not in await pictures.show(made["id"], token=member)
        listed = (await pictures.ok("GET", "/images", token=member)).body["images"]
        assert [("x_secret" in image) for image in listed] == [False]
        for token, count in ((member, 0), (None, 1)):
            found = await pictures.ok("GET", "/images?x_secret=s", token=token)
            assert len(found.body["images"]) == count
        for body, status in (
            (patch("replace", "x_secret", "t"), 409),
            (patch("remove", "x_secret"), 409),
            (patch("add", "x_secret", "t"), 403),
        ):
            await pictures.refused(status, "PATCH", path, body, kind=V2_1, token=member)
        await pictures.ok("PATCH", path, patch("replace", "name", "m"), kind=V2_1, token=member)
        assert (await pictures.show(made["id"]))["x_secret"] == "s"
        await pictures.refused(403, "PATCH", path, patch("remove", "x_secret"), kind=V2_1)


async def test_by_policies(database: str, tmp_path: Path) -> None:
    async with protected(tmp_path, database, POLICIES, "policies") as pictures:
        await pictures.cloud.make("role", name="billing")
        _, member = await pictures.user("member")
        _, clerk = await pictures.user("member", "billing")
        await pictures.refused(403, "POST", "/images", {"x_owned": "1"}, token=member)
        made = await pictures.make(token=clerk, x_owned="1")
        path = f"/images/{made['id']}"
        body = patch("replace", "x_owned", "2")
        assert (await pictures.ok("PATCH", path, body, kind=V2_1, token=clerk)).body["x_owned"] == "2"
        await pictures.refused(403, "PATCH", path, patch("remove", "x_owned"), kind=V2_1, token=clerk)


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("[a]\ncreate = @,!", "roles", "mutually exclusive"),
        ("[a(]\ncreate = @", "roles", "is no regular expression"),
        ("[a]\nwrite = @", "roles", "write is none of create, read, update, delete"),
        ("[a]\ncreate = one,two", "policies", "one rule of the policy is expected"),
        ("create = @", "roles", "no section headers"),
        ("[a]\ncreate=@\n[a]\ncreate=@", "roles", "already exists"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, form: str, said: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(AtollError, match=said):
        load(str(path), form)
