"""Two backends on one host: types choose between them, and volumes move from one to the other."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from compute.objects.memory import MemoryStore
from runtime.errors import AtollError
from tests.compute.volume.whole import Whole, started

MIB: Final = 1024 * 1024


@pytest.fixture
async def cloud(database: str, tmp_path: Path) -> AsyncIterator[Whole]:
    """One process."""
    backends = ("ring", f"disk={tmp_path / 'disk'}")
    async with started(tmp_path, database, MemoryStore(), backends=backends) as whole:
        for name in ("ring", "disk"):
            await whole.type(f"on-{name}", extra_specs={"volume_backend_name": name})
        yield whole


async def place(cloud: Whole, volume_id: str) -> str:
    """Where a volume is."""
    found = await cloud.show("volumes", volume_id)
    return str(found["os-vol-host-attr:host"])


async def attached(cloud: Whole, volume_id: str) -> tuple[str, str]:
    """A new attachment's id and its export."""
    wanted = {
        "volume_uuid": volume_id,
        "instance_uuid": cloud.site.new_uuid(),
        "connector": {"host": "client"},
    }
    made = (await cloud.ok("POST", "/attachments", {"attachment": wanted}))["attachment"]
    info = made["connection_info"]
    return made["id"], f"nbd+unix:///{info['export']}?socket={info['unix']}"


async def let_go(cloud: Whole, volume_id: str, attachment_id: str) -> None:
    """End it."""
    await cloud.ok("DELETE", f"/attachments/{attachment_id}")
    await cloud.until("volumes", volume_id, "available")


async def fill(cloud: Whole, volume_id: str) -> dict[int, bytes]:
    """Write through an export; what is where."""
    data = {at: random.Random(at).randbytes(100_000) for at in (0, 300 * MIB + 5, 1023 * MIB)}
    attachment, uri = await attached(cloud, volume_id)
    words = []
    for at, part in data.items():
        source = Path(cloud.site.folder) / f"part-{at}"
        source.write_bytes(part)
        words += ["-c", f"write -s {source} {at} {len(part)}"]
    await run("qemu-io", "-f", "raw", *words, "-c", "flush", uri)
    await let_go(cloud, volume_id, attachment)
    return data


async def run(*command: str) -> str:
    """A program's output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    return said.decode()


async def check(cloud: Whole, volume_id: str, data: dict[int, bytes]) -> None:
    """Through another export."""
    attachment, uri = await attached(cloud, volume_id)
    copy = Path(cloud.site.folder) / "copy"
    await run("nbdcopy", uri, str(copy))
    with copy.open("rb") as file:
        for at, part in data.items():
            file.seek(at)
            assert file.read(len(part)) == part, at
        file.seek(MIB)
        assert file.read(MIB) == bytes(MIB)
    copy.unlink()
    await let_go(cloud, volume_id, attachment)


async def test_backends_are_pools_and_services(cloud: Whole) -> None:
    pools = (await cloud.ok("GET", "/scheduler-stats/get_pools?detail=true"))["pools"]
    told = {pool["name"]: pool["capabilities"]["free_capacity_gb"] for pool in pools}
    assert sorted(told) == ["here@disk#disk", "here@ring#ring"]
    assert told["here@ring#ring"] == "infinite"
    assert 0 < told["here@disk#disk"] < 1_000_000
    services = (await cloud.ok("GET", "/os-services?binary=cinder-volume"))["services"]
    assert sorted(one["host"] for one in services) == ["here@disk", "here@ring"]


async def test_types_choose_the_backend(cloud: Whole, tmp_path: Path) -> None:
    on_disk = await cloud.volume(volume_type="on-disk")
    on_ring = await cloud.volume(volume_type="on-ring")
    assert await place(cloud, on_disk["id"]) == "here@disk#disk"
    assert await place(cloud, on_ring["id"]) == "here@ring#ring"
    assert [path.name for path in (tmp_path / "disk").glob("*.raw")] == [f"{on_disk['id']}.raw"]
    copy = await cloud.volume(source_volid=on_disk["id"])
    assert await place(cloud, copy["id"]) == "here@disk#disk"
    snapshot = await cloud.snapshot(on_disk["id"])
    made = await cloud.volume(snapshot_id=snapshot["id"], size=2)
    path = tmp_path / "disk" / f"{made['id']}.raw"
    assert path.stat().st_size == 2048 * MIB


async def test_retype_moves_a_volume_there_and_back(cloud: Whole, tmp_path: Path) -> None:
    volume = (await cloud.volume(volume_type="on-ring"))["id"]
    data = await fill(cloud, volume)
    for name in ("disk", "ring"):
        fields = {"new_type": f"on-{name}", "migration_policy": "on-demand"}
        await cloud.act(volume, "os-retype", fields)
        moved = await cloud.until("volumes", volume, "available", "error")
        assert (moved["status"], moved["volume_type"]) == ("available", f"on-{name}")
        assert await place(cloud, volume) == f"here@{name}#{name}"
        assert (tmp_path / "disk" / f"{volume}.raw").exists() == (name == "disk")
        await check(cloud, volume, data)


async def test_migration_moves_a_volume(cloud: Whole, tmp_path: Path) -> None:
    volume = (await cloud.volume(volume_type="on-disk"))["id"]
    data = await fill(cloud, volume)
    await cloud.act(volume, "os-migrate_volume", {"host": "here@ring#ring"})
    await cloud.until("volumes", volume, "available")
    assert await place(cloud, volume) == "here@ring#ring"
    assert not list((tmp_path / "disk").glob("*.raw"))
    await check(cloud, volume, data)


async def test_a_folder_in_use_ends_the_start(cloud: Whole, tmp_path: Path) -> None:
    backends = (f"disk={tmp_path / 'disk'}",)
    with pytest.raises(AtollError, match="backend disk can't be used"):
        async with started(
            tmp_path, f"sqlite:///{tmp_path / 'other.db'}", MemoryStore(), backends=backends
        ):
            pass


async def test_a_qcow2_image_becomes_files_and_files_an_image(cloud: Whole, tmp_path: Path) -> None:
    raw, image = tmp_path / "raw", tmp_path / "image"
    raw.write_bytes(random.Random(1).randbytes(3 * MIB) + bytes(MIB))
    await run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    source = await cloud.pictures.active(image.read_bytes(), disk_format="qcow2")
    volume = await cloud.volume(volume_type="on-disk", imageRef=source["id"])
    with (tmp_path / "disk" / f"{volume['id']}.raw").open("rb") as file:
        assert file.read(4 * MIB) == raw.read_bytes()
        assert file.read(MIB) == bytes(MIB)
    fields = {"image_name": "made", "disk_format": "raw", "container_format": "bare"}
    made = await cloud.act(volume["id"], "os-volume_upload_image", fields)
    await cloud.until("volumes", volume["id"], "available")
    found = await cloud.pictures.show(made["os-volume_upload_image"]["image_id"])
    assert (found["status"], found["size"]) == ("active", 1024 * MIB)
