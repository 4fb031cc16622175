"""The SDK's resources of the block storage service, each by its own verbs."""

import asyncio
from collections.abc import Callable
from typing import Any

import openstack
import pytest

from tests.compute.identity.cloud import PASSWORD
from tests.compute.volume.cloud import Volumes


def _connection(url: str) -> Any:
    return openstack.connection.Connection(
        auth={
            "auth_url": f"{url}/v3",
            "username": "admin",
            "password": PASSWORD,
            "project_name": "admin",
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        region_name="RegionOne",
        block_storage_api_version="3",
        block_storage_default_microversion="3.70",
        block_storage_endpoint_override=f"{url}/volume/v3",
    )


def _types(api: Any, _project_id: str) -> None:
    kind = api.create_type(name="fast", description="quick", extra_specs={"a": "b"})
    assert api.find_type("fast").id == kind.id
    assert api.update_type_extra_specs(kind, c="d").extra_specs == {"c": "d"}
    api.delete_type_extra_specs(kind, ["a"])
    assert api.get_type(kind).extra_specs == {"c": "d"}
    encryption = api.create_type_encryption(
        kind, provider="luks", cipher="aes", key_size=256, control_location="front-end"
    )
    assert api.get_type_encryption(kind).encryption_id == encryption.encryption_id
    api.delete_type_encryption(encryption=encryption, volume_type=kind)
    private = api.create_type(name="private", is_public=False)
    api.add_type_access(private, "someone")
    assert [row["project_id"] for row in api.get_type_access(private)] == ["someone"]
    api.remove_type_access(private, "someone")
    for row in (kind, private):
        api.delete_type(row)
    assert [row.name for row in api.types()] == ["__DEFAULT__"]


def _qos(api: Any, _project_id: str) -> None:
    qos = api.create_qos_spec(name="slow", consumer="front-end")
    assert api.get_qos_spec(qos.id).name == "slow"
    api.delete_qos_spec(qos)


def _limits(api: Any, project_id: str) -> None:
    assert api.get_quota_set(project_id).volumes == 10
    assert api.update_quota_set(project_id, volumes=12).volumes == 12
    assert api.get_quota_set(project_id, usage=True).usage["volumes"] == 0
    assert api.get_quota_set_defaults(project_id).volumes == 10
    api.revert_quota_set(project_id)
    assert api.get_limits().absolute.max_total_volumes == 10
    assert api.get_quota_class_set("default").volumes == 10


def _operators(api: Any, _project_id: str) -> None:
    (service,) = api.services(binary="cinder-scheduler")
    api.disable_service(service, reason="dust")
    (disabled,) = api.services(binary="cinder-scheduler")
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "dust")
    api.enable_service(service)
    assert [zone.name for zone in api.availability_zones()] == ["nova"]
    assert "os-services" in {row.alias for row in api.extensions()}
    assert {row.resource for row in api.resource_filters()} > {"volume", "group"}
    assert [pool.name.partition("@")[2] for pool in api.backend_pools()] == ["ring#ring"]


def _groups(api: Any, _project_id: str) -> None:
    kind = api.create_group_type(name="together", group_specs={"a": "b"})
    assert api.find_group_type("together").group_specs == {"a": "b"}
    default = next(iter(api.types()))
    group = api.create_group(name="g", group_type=kind.id, volume_types=[default.id])
    assert api.get_group(group).status == "available"
    api.update_group(group, name="h")
    assert api.find_group("h").id == group.id
    api.reset_group_status(group, "error")
    api.delete_group(group)
    assert list(api.groups()) == []
    api.delete_group_type(kind)


pytestmark = pytest.mark.filterwarnings(
    *(f"ignore::openstack.warnings.RemovedInSDK{number}Warning" for number in (50, 60))
)
"""The SDK warns of parts of itself that go."""


@pytest.mark.parametrize("use", [_types, _qos, _limits, _operators, _groups])
async def test_the_sdk(volumes: Volumes, use: Callable[[Any, str], None]) -> None:
    def work() -> None:
        with _connection(volumes.cloud.url) as connection:
            use(connection.block_storage, connection.current_project_id)

    await asyncio.to_thread(work)
