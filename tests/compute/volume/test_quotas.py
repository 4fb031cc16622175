"""Quotas: what was set, what is in use, and who is refused."""

import asyncio
from typing import Any

import pytest

from compute.volume.quotas import DEFAULTS, PER_VOLUME, OverLimit, Use, check, reserve
from tests.compute.volume.cloud import Volumes
from tests.compute.volume.rows import add_snapshot, add_volume, type_id


async def _set(client: Volumes, project: str, **limits: Any) -> Any:
    body = {"quota_set": limits}
    return (await client.ok("PUT", f"/os-quota-sets/{project}", body))["quota_set"]


async def test_limits_are_the_defaults_until_they_are_set(volumes: Volumes) -> None:
    project, token = await volumes.user("reader")
    where = f"/os-quota-sets/{project}"
    typed = {f"{kind}___DEFAULT__": -1 for kind in ("volumes", "gigabytes", "snapshots")}
    shown = (await volumes.ok("GET", where, token=token))["quota_set"]
    assert shown == {**DEFAULTS, **typed, "id": project}
    changed = await _set(volumes, project, volumes=3, gigabytes="20", tenant_id=project)
    assert changed == {**DEFAULTS, **typed, "volumes": 3, "gigabytes": 20}
    shown = (await volumes.ok("GET", f"{where}/defaults", token=token))["quota_set"]
    assert shown["volumes"] == DEFAULTS["volumes"]
    await volumes.refused(403, "PUT", where, {"quota_set": {"volumes": 100}}, token=token)
    await volumes.refused(403, "GET", "/os-quota-sets/other", token=token)
    assert (await volumes.ok("DELETE", where)).status == 200
    assert (await volumes.ok("GET", where))["quota_set"]["volumes"] == DEFAULTS["volumes"]


async def test_bad_limits_change_nothing(volumes: Volumes) -> None:
    for wrong in (
        {"volumes": -2},
        {"volumes": "many"},
        {"volumes": True},
        {"volumes": 2**31},
        {"gardens": 5},
        {"volumes": 3, "gardens": 5},
        {},
    ):
        await volumes.refused(400, "PUT", "/os-quota-sets/p", {"quota_set": wrong})
    await volumes.refused(400, "PUT", "/os-quota-sets/p", {"quotas": {"volumes": 3}})
    assert (await volumes.ok("GET", "/os-quota-sets/p"))["quota_set"]["volumes"] == 10


async def test_the_class_default_is_everyones(volumes: Volumes) -> None:
    where = "/os-quota-class-sets/default"
    before = (await volumes.ok("GET", where))["quota_class_set"]
    assert before["id"] == "default"
    changed = (await volumes.ok("PUT", where, {"quota_class_set": {"backups": 7}}))["quota_class_set"]
    assert changed["backups"] == 7
    assert (await volumes.ok("GET", "/os-quota-sets/p"))["quota_set"]["backups"] == 7
    assert (await volumes.ok("GET", "/os-quota-class-sets/gold"))["quota_class_set"]["backups"] == 7
    await volumes.refused(400, "PUT", where, {"quota_class_set": {"nothing": 7}})


async def test_use_is_counted_by_type_and_limits_follow_a_types_name(volumes: Volumes) -> None:
    database = volumes.cloud.identity.database
    kind = await volumes.type("fast")
    add_volume(database, "v1", "p", size_gib=5, volume_type_id=kind["id"])
    add_volume(database, "v2", "p", size_gib=7, volume_type_id=type_id(database))
    add_volume(database, "v3", "other", size_gib=100)
    add_volume(database, "v4", "p", size_gib=100, consumes_quota=False)
    add_snapshot(database, "s1", "v1", "p", size_gib=5, volume_type_id=kind["id"])
    used = (await volumes.ok("GET", "/os-quota-sets/p?usage=True"))["quota_set"]
    assert used["volumes"] == {"limit": 10, "in_use": 2, "reserved": 0}
    assert used["gigabytes"]["in_use"] == 17
    assert used["snapshots"]["in_use"] == 1
    assert (used["volumes_fast"]["in_use"], used["gigabytes_fast"]["in_use"]) == (1, 10)
    assert await volumes.refused(400, "PUT", "/os-quota-sets/p", {"quota_set": {"gigabytes": 16}}) == (
        "Quota gigabytes limit must be equal or greater than existing resources. Current usage is 17"
        " and the requested limit is 16."
    )
    await _set(volumes, "p", volumes_fast=1, gigabytes=17)
    await volumes.ok("PUT", f"/types/{kind['id']}", {"volume_type": {"name": "faster"}})
    limits = (await volumes.ok("GET", "/os-quota-sets/p"))["quota_set"]
    assert limits["volumes_faster"] == 1
    assert "volumes_fast" not in limits
    with database.read() as session:
        reserve(session, "p", {"volumes": 1, "gigabytes": 0}, type_id(database))
        with pytest.raises(OverLimit, match="quota 'volumes_faster'"):
            reserve(session, "p", {"volumes": 1, "gigabytes": 0}, kind["id"])
        with pytest.raises(
            OverLimit, match=r"allowed gigabytes quota\. Requested 1G, quota is 17G and 17G"
        ):
            reserve(session, "p", {"volumes": 1, "gigabytes": 1}, type_id(database))


async def test_limits_of_the_own_project_and_of_another(volumes: Volumes) -> None:
    database = volumes.cloud.identity.database
    project, token = await volumes.user("reader")
    add_volume(database, "v1", project, size_gib=5)
    absolute = (await volumes.ok("GET", "/limits", token=token))["limits"]["absolute"]
    assert (absolute["totalVolumesUsed"], absolute["maxTotalVolumes"]) == (1, 10)
    assert absolute["totalGigabytesUsed"] == 5
    for version, count in (("3.39", 1), ("3.38", 0)):
        reply = await volumes.ok("GET", f"/limits?project_id={project}", version=version)
        assert reply["limits"]["absolute"]["totalVolumesUsed"] == count, version


def _uses(**limits: int) -> dict[str, Use]:
    return {name: Use(limits.get(name, -1), 4) for name in DEFAULTS}


def test_what_is_over_a_limit_is_said_in_upstreams_words() -> None:
    check(_uses(volumes=5), {"volumes": 1})
    check(_uses(volumes=3), {"volumes": -1})
    for limits, deltas, said in (
        (
            {"volumes": 4},
            {"volumes": 1},
            "Maximum number of volumes allowed (4) exceeded for quota 'volumes'.",
        ),
        ({"snapshots": 4}, {"snapshots": 1}, "Maximum number of snapshots allowed (4) exceeded"),
        ({"groups": 4}, {"groups": 1}, "Maximum number of groups allowed (4) exceeded"),
        (
            {"backup_gigabytes": 5},
            {"backups": 1, "backup_gigabytes": 2},
            "Requested backup exceeds allowed Backup gigabytes quota. Requested 2G, quota is 5G and 4G"
            " has been consumed.",
        ),
        (
            {PER_VOLUME: 2},
            {PER_VOLUME: 3, "volumes": 1},
            "Requested volume size 3G is larger than maximum allowed limit 2G.",
        ),
    ):
        with pytest.raises(OverLimit) as caught:
            check(_uses(**limits), deltas)
        assert caught.value.message == said
        assert caught.value.status == 413
        assert caught.value.headers == {"Retry-After": "0"}


async def test_of_many_who_take_the_last_one_wins(volumes: Volumes) -> None:
    await volumes.ok("POST", "/group_types", {"group_type": {"name": "together"}})
    project = (await volumes.cloud.ok("GET", "/projects?name=admin"))["projects"][0]["id"]
    await _set(volumes, project, groups=1)
    body = {"group": {"group_type": "together", "volume_types": ["__DEFAULT__"]}}
    replies = await asyncio.gather(*(volumes.call("POST", "/groups", body) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [202, 413, 413, 413, 413]
    (refused, *_) = (reply for reply in replies if reply.status == 413)
    assert refused.headers["Retry-After"] == "0"
    assert refused["overLimit"]["retryAfter"] == "0"
