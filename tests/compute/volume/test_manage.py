"""Volumes and snapshots that a backend has and no row tells of: listed, taken over, let go."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from compute.objects.memory import MemoryStore
from tests.compute.volume.whole import Whole, started

GIB = 1 << 30


@pytest.fixture
async def whole(database: str, tmp_path: Path) -> AsyncIterator[Whole]:
    """A process with volumes in the store and in files."""
    backends = ("ring", f"files={tmp_path / 'files'}")
    async with started(tmp_path, database, MemoryStore(), backends=backends) as made:
        for backend in ("ring", "files"):
            specs = {"name": backend, "extra_specs": {"volume_backend_name": backend}}
            await made.ok("POST", "/types", {"volume_type": specs})
        yield made


async def manage(whole: Whole, backend: str, source: str, **fields: object) -> str:
    """Ask for it; the new id."""
    said = {"host": f"here@{backend}#{backend}", "ref": {"source-name": source}, **fields}
    return str((await whole.ok("POST", "/manageable_volumes", {"volume": said}))["volume"]["id"])


@pytest.mark.parametrize("backend", ["ring", "files"])
async def test_a_volume_is_let_go_and_taken_over(whole: Whole, backend: str) -> None:
    old = await whole.volume(volume_type=backend, size=2)
    shot = await whole.snapshot(old["id"])
    await whole.refused(
        400, "POST", f"/volumes/{old['id']}/action", {"os-unmanage": {}}
    )  # it has a snapshot
    await whole.ok("DELETE", f"/snapshots/{shot['id']}")
    await whole.until("snapshots", shot["id"])
    twin = await whole.volume(volume_type=backend, size=2, source_volid=old["id"])
    await whole.act(old["id"], "os-unmanage", {})
    assert (await whole.call("GET", f"/volumes/{old['id']}")).status == 404
    where = f"/manageable_volumes/detail?host=here@{backend}"
    rows = {
        row["reference"]["source-name"]: row
        for row in (await whole.ok("GET", where))["manageable-volumes"]
    }
    assert (rows[old["id"]]["safe_to_manage"], rows[old["id"]]["size"]) == (True, 2)
    assert rows[twin["id"]]["reason_not_safe"] == "already managed"
    assert rows[twin["id"]]["cinder_id"] == twin["id"]
    new = await manage(whole, backend, f"volume-{old['id']}", name="again", metadata={"a": "b"})
    shown = await whole.until("volumes", new, "available")
    assert new != old["id"]
    assert (shown["size"], shown["name"], shown["metadata"]) == (2, "again", {"a": "b"})
    found = (await whole.ok("GET", f"/manageable_volumes?host=here@{backend}"))["manageable-volumes"]
    assert {row["reference"]["source-name"] for row in found} == {new, twin["id"]}
    for ident in (new, twin["id"]):
        await whole.ok("DELETE", f"/volumes/{ident}")
        await whole.until("volumes", ident)
    assert (await whole.ok("GET", f"/manageable_volumes?host=here@{backend}"))[
        "manageable-volumes"
    ] == []


async def test_a_file_that_was_put_there(whole: Whole, tmp_path: Path) -> None:
    (tmp_path / "files" / "mine.raw").write_bytes(b"bytes" * 1000)
    new = await manage(whole, "files", "mine", bootable=True)
    shown = await whole.until("volumes", new, "available")
    assert (shown["size"], shown["bootable"]) == (1, "true")
    path = tmp_path / "files" / f"{new}.raw"
    assert path.stat().st_size == GIB
    assert path.read_bytes()[:10] == b"bytesbytes"
    assert not (tmp_path / "files" / "mine.raw").exists()


@pytest.mark.parametrize("backend", ["ring", "files"])
async def test_a_snapshot_is_let_go_and_taken_over(whole: Whole, backend: str) -> None:
    volume = await whole.volume(volume_type=backend)
    shot = await whole.snapshot(volume["id"])
    path = f"/snapshots/{shot['id']}"
    await whole.ok("POST", f"{path}/action", {"os-unmanage": {}})
    assert (await whole.call("GET", path)).status == 404
    (row,) = (await whole.ok("GET", f"/manageable_snapshots?host=here@{backend}"))[
        "manageable-snapshots"
    ]
    assert row["reference"] == {"source-name": shot["id"]}
    assert row["source_reference"] == {"source-name": volume["id"]}
    assert row["safe_to_manage"] is True
    said = {"volume_id": volume["id"], "ref": {"source-name": f"snapshot-{shot['id']}"}, "name": "n"}
    made = (await whole.ok("POST", "/manageable_snapshots", {"snapshot": said}))["snapshot"]
    assert (await whole.until("snapshots", made["id"], "available"))["name"] == "n"
    await whole.refused(400, "POST", "/manageable_snapshots", {"snapshot": said})
    other = await whole.volume(volume_type=backend, size=1, snapshot_id=made["id"])
    assert other["status"] == "available"
    said["ref"] = {"source-name": str(uuid.uuid4())}
    made = (await whole.ok("POST", "/manageable_snapshots", {"snapshot": said}))["snapshot"]
    await whole.until("snapshots", made["id"], "error_managing")
    await whole.ok("DELETE", f"/snapshots/{made['id']}")
    assert (await whole.call("GET", f"/snapshots/{made['id']}")).status == 404


async def test_what_can_not_be_taken_over(whole: Whole, tmp_path: Path) -> None:
    there = await whole.volume(volume_type="files")
    for fields, status in (
        ({"host": "here@ring#ring", "ref": {"source-name": "../x"}}, 400),
        ({"host": "here@ring#ring", "ref": {"other": "x"}}, 400),
        ({"host": "here@ring#ring", "ref": "x"}, 400),
        ({"ref": {"source-name": "x"}}, 400),
        ({"host": "there@ring", "ref": {"source-name": "x"}}, 404),
        ({"host": "here@files#files", "ref": {"source-name": there["id"]}}, 400),
    ):
        for path in ("/manageable_volumes", "/os-volume-manage"):
            await whole.refused(status, "POST", path, {"volume": fields})
    gone = await manage(whole, "files", "nothing")
    shown = await whole.until("volumes", gone, "error_managing")
    assert shown["size"] == 0
    await whole.ok("DELETE", f"/volumes/{gone}")
    await whole.until("volumes", gone)
    (tmp_path / "files" / "large.raw").touch()
    with (tmp_path / "files" / "large.raw").open("r+b") as file:
        file.truncate(2000 * GIB)
    large = await manage(whole, "files", "large")  # more than the project may have
    await whole.until("volumes", large, "error_managing")
    await whole.ok("DELETE", f"/volumes/{large}")
    await whole.until("volumes", large)
    assert (tmp_path / "files" / "large.raw").exists(), "it was not ours"
    for query in ("", "?host=here@nothing", "?host=there@ring"):
        await whole.refused(400, "GET", f"/manageable_volumes{query}")
    await whole.refused(404, "GET", "/manageable_volumes", version="3.7")
    project = await whole.cloud.make("project")
    user = await whole.cloud.user("member", project=project["id"])
    token = await whole.cloud.token_of(user, {"project": {"id": project["id"]}})
    await whole.refused(403, "GET", "/manageable_volumes?host=here@ring", token=token)
