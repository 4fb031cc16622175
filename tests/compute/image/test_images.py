"""Images: made, listed, changed, shared, uploaded, downloaded and deleted, by those who may."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import aiohttp

from compute.objects.memory import MemoryStore
from tests.compute.image.cloud import OCTETS, V2_0, V2_1, Pictures, sha512


async def test_an_image_is_made_uploaded_and_downloaded(pictures: Pictures) -> None:
    made = await pictures.make(name="one", tags=["b", "a", "a"], hw_disk_bus="scsi")
    assert made["status"] == "queued"
    assert made["tags"] == ["a", "b"]
    assert made["hw_disk_bus"] == "scsi"
    assert made["checksum"] is None
    path = f"/images/{made['id']}"
    assert (await pictures.ok("GET", f"{path}/file")).status == 204
    data = bytes(range(256)) * 20_000
    assert (await pictures.upload(made["id"], data)).status == 204
    shown = await pictures.show(made["id"])
    assert shown["status"] == "active"
    assert (shown["size"], shown["virtual_size"]) == (len(data), len(data))
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", sha512(data))
    assert shown["stores"] == "default"
    whole = await pictures.ok("GET", f"{path}/file")
    assert whole.body == data
    assert whole.headers["Content-MD5"] == shown["checksum"]
    for asked, part in (
        ("bytes=10-19", data[10:20]),
        ("bytes=-5", data[-5:]),
        ("bytes=5119990-", data[5_119_990:]),
    ):
        reply = await pictures.call("GET", f"{path}/file", Range=asked)
        assert (reply.status, reply.body) == (206, part)
    await pictures.refused(416, "GET", f"{path}/file", Range=f"bytes={len(data)}-")
    await pictures.refused(409, "PUT", f"{path}/file", b"again", kind=OCTETS)
    assert (await pictures.ok("DELETE", path)).status == 204
    await pictures.refused(404, "GET", path)
    await pictures.refused(404, "DELETE", path)


async def test_deleted_bytes_are_gone(pictures: Pictures, objects: MemoryStore) -> None:
    image = await pictures.active(b"x" * 3_000_000)
    assert objects.containers["images-default"]
    await pictures.ok("DELETE", f"/images/{image['id']}")
    while objects.containers["images-default"]:
        await asyncio.sleep(0.01)


async def test_a_wrong_claim_is_refused_and_leaves_nothing(
    pictures: Pictures, objects: MemoryStore
) -> None:
    made = await pictures.make(disk_format="qcow2")
    said = await pictures.refused(415, "PUT", f"/images/{made['id']}/file", b"x" * 5000, kind=OCTETS)
    assert said == "Image disk_format qcow2 does not match stream data raw"
    assert (await pictures.show(made["id"]))["status"] == "queued"
    while objects.containers["images-default"]:
        await asyncio.sleep(0.01)
    await pictures.refused(415, "PUT", f"/images/{made['id']}/file", b"x", kind="text/plain")


async def test_an_upload_that_breaks_off_leaves_nothing(
    pictures: Pictures, objects: MemoryStore
) -> None:
    made = await pictures.make()

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        while (await pictures.show(made["id"]))["status"] != "saving":
            await asyncio.sleep(0.01)
        raise OSError("the client's disk")

    headers = {"X-Auth-Token": pictures.cloud.token, "Content-Type": OCTETS}
    url = f"{pictures.cloud.url}/image/v2/images/{made['id']}/file"
    try:
        async with pictures.http.put(url, data=half(), headers=headers):
            pass
    except (aiohttp.ClientError, OSError):
        pass
    while (await pictures.show(made["id"]))["status"] != "queued":
        await asyncio.sleep(0.01)
    while objects.containers.get("images-default"):
        await asyncio.sleep(0.01)
    assert (await pictures.upload(made["id"], b"again")).status == 204


async def test_attributes_that_are_not_the_clients(pictures: Pictures) -> None:
    for name, status in (("status", 403), ("self", 403), ("deleted", 403), ("os_glance_x", 403)):
        await pictures.refused(status, "POST", "/images", {name: "x"})
    for body in (
        {"disk_format": "shoe"},
        {"container_format": 1},
        {"min_ram": -1},
        {"x": 1},
        {"id": "7"},
    ):
        await pictures.refused(400, "POST", "/images", body)
    await pictures.refused(400, "POST", "/images", {"disk_format": "aki", "container_format": "bare"})
    image = await pictures.make()
    await pictures.refused(409, "POST", "/images", {"id": image["id"]})
    path = f"/images/{image['id']}"
    for name in ("status", "id", "os_glance_x"):
        patch = [{"op": "replace", "path": f"/{name}", "value": "x"}]
        await pictures.refused(403, "PATCH", path, patch, kind=V2_1)


async def test_patches(pictures: Pictures) -> None:
    image = await pictures.make(tags=["a"], old="1")
    path = f"/images/{image['id']}"
    patch = [
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/a~1b", "value": "slash"},
        {"op": "remove", "path": "/old"},
        {"op": "replace", "path": "/tags", "value": ["t"]},
        {"op": "replace", "path": "/min_disk", "value": 3},
    ]
    shown = (await pictures.ok("PATCH", path, patch, kind=V2_1)).body
    assert (shown["name"], shown["a/b"], shown["tags"], shown["min_disk"]) == ("new", "slash", ["t"], 3)
    assert "old" not in shown
    shown = (await pictures.ok("PATCH", path, [{"replace": "/name", "value": "n"}], kind=V2_0)).body
    assert shown["name"] == "n"
    for status, patch_ in (
        (409, [{"op": "replace", "path": "/none", "value": "x"}]),
        (409, [{"op": "remove", "path": "/none"}]),
        (403, [{"op": "remove", "path": "/name"}]),
        (403, [{"op": "add", "path": "/locations/-", "value": {}}]),
        (400, [{"op": "move", "path": "/name"}]),
        (400, [{"op": "add", "path": "name", "value": "x"}]),
        (400, [{"op": "add", "path": "/min_disk", "value": "x"}]),
        (400, [{"op": "add", "path": "/name"}]),
    ):
        await pictures.refused(
            status, "PATCH", path, [{"op": "add", "path": "/half", "value": "x"}, *patch_], kind=V2_1
        )
    assert "half" not in await pictures.show(image["id"])
    await pictures.refused(415, "PATCH", path, [], kind="application/json")
    await pictures.refused(400, "PATCH", path, {"op": "add"}, kind=V2_1)


async def test_who_sees_what(pictures: Pictures) -> None:
    project, token = await pictures.user("member", "reader")
    other, other_token = await pictures.user("member", "reader")
    made = {
        visibility: (await pictures.make(visibility=visibility, token=token))["id"]
        for visibility in ("private", "shared", "community")
    }
    made["public"] = (await pictures.make(visibility="public"))["id"]
    await pictures.refused(403, "POST", "/images", {"visibility": "public"}, token=token)

    async def listed(query: str = "", who: str = other_token) -> set[str]:
        found = (await pictures.ok("GET", f"/images{query}", token=who))["images"]
        names = {ident: name for name, ident in made.items()}
        return {names[each["id"]] for each in found}

    assert await listed(who=token) == {"private", "shared", "community", "public"}
    assert await listed() == {"public"}
    assert await listed("?visibility=community") == {"community"}
    for ident in ("private", "shared"):
        await pictures.refused(404, "GET", f"/images/{made[ident]}", token=other_token)
        await pictures.refused(404, "DELETE", f"/images/{made[ident]}", token=other_token)
    for ident in ("public", "community"):
        await pictures.show(made[ident], token=other_token)
        await pictures.refused(403, "DELETE", f"/images/{made[ident]}", token=other_token)
    members = f"/images/{made['shared']}/members"
    await pictures.ok("POST", members, {"member": other}, token=token)
    await pictures.refused(409, "POST", members, {"member": other}, token=token)
    assert await listed() == {"public"}
    assert await listed("?member_status=pending&visibility=shared") == {"shared"}
    await pictures.refused(403, "PUT", f"{members}/{other}", {"status": "accepted"}, token=token)
    await pictures.refused(400, "PUT", f"{members}/{other}", {"status": "x"}, token=other_token)
    await pictures.ok("PUT", f"{members}/{other}", {"status": "accepted"}, token=other_token)
    assert await listed() == {"public", "shared"}
    await pictures.refused(403, "POST", members, {"member": "x"}, token=other_token)
    await pictures.ok("DELETE", f"{members}/{other}", token=token)
    assert await listed() == {"public"}
    await pictures.refused(
        403, "POST", f"/images/{made['private']}/members", {"member": other}, token=token
    )
    assert project != other


async def test_lists_are_filtered_sorted_and_paged(pictures: Pictures) -> None:
    for number in range(5):
        await pictures.active(
            b"x" * (number + 1), name=f"n{number % 2}", tags=["t", f"t{number}"], kind=str(number)
        )

    async def names(query: str) -> list[str]:
        found = (await pictures.ok("GET", f"/images?{query}"))["images"]
        return [each["kind"] for each in found]

    assert await names("sort=size:asc") == ["0", "1", "2", "3", "4"]
    assert await names("sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc") == [
        "4",
        "2",
        "0",
        "3",
        "1",
    ]
    assert await names("name=in:n1,n2&sort=size:asc") == ["1", "3"]
    assert await names("tag=t&tag=t3") == ["3"]
    assert await names("size_min=2&size_max=3&sort=size:asc") == ["1", "2"]
    assert await names("kind=4") == ["4"]
    assert await names("created_at=gt:2999-01-01T00:00:00Z") == []
    found, path = [], "/v2/images?limit=2&sort_key=name&sort_dir=asc"
    while path:
        page = (await pictures.ok("GET", path)).body
        found += [each["kind"] for each in page["images"]]
        path = page.get("next", "")
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    for query in ("limit=x", "sort=shoe", "sort_dir=up", "visibility=x", "marker=none", "size_min=x"):
        await pictures.refused(400, "GET", f"/images?{query}")


async def test_deactivated_protected_hidden_and_tagged(pictures: Pictures) -> None:
    image = await pictures.active(protected=True)
    path = f"/images/{image['id']}"
    await pictures.refused(403, "DELETE", path)
    _, token = await pictures.user("member", "reader")
    own = await pictures.make(token=token)
    await pictures.upload(own["id"], b"mine", token=token)
    for action, status in (("deactivate", "deactivated"), ("reactivate", "active")):
        await pictures.ok("POST", f"/images/{own['id']}/actions/{action}", token=token)
        assert (await pictures.show(own["id"]))["status"] == status
        if status == "deactivated":
            await pictures.refused(403, "GET", f"/images/{own['id']}/file", token=token)
    await pictures.ok("PUT", f"{path}/tags/t")
    assert (await pictures.show(image["id"]))["tags"] == ["t"]
    await pictures.ok("DELETE", f"{path}/tags/t")
    await pictures.refused(404, "DELETE", f"{path}/tags/t")
    patch = [{"op": "replace", "path": "/os_hidden", "value": True}]
    await pictures.ok("PATCH", path, patch, kind=V2_1)
    assert image["id"] not in json.dumps((await pictures.ok("GET", "/images")).body)
    assert len((await pictures.ok("GET", "/images?os_hidden=true"))["images"]) == 1


async def test_discovery(pictures: Pictures) -> None:
    url = f"{pictures.cloud.url}/image/"
    async with pictures.http.get(url) as answer:
        assert answer.status == 300
        assert (await answer.json())["versions"][0]["id"] == "v2.15"
    for name in ("image", "images", "member", "members", "task", "tasks"):
        assert (await pictures.ok("GET", f"/schemas/{name}"))["name"].startswith(name)
    stores = (await pictures.ok("GET", "/info/stores"))["stores"]
    assert stores == [{"id": "default", "default": "true"}, {"id": "second"}]
    assert "copy-image" in (await pictures.ok("GET", "/info/import"))["import-methods"]["value"]
    await pictures.refused(401, "GET", "/images", token="")
    await pictures.refused(501, "GET", "/cached_images")
