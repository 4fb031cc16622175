"""`atoll up --cloud` as people use it: the openstack command, the SDK, Swift with Keystone's tokens."""

import json
import os
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import swiftclient
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.api.store import RunningStore, clean_environment, free_port, start_store

PASSWORD = "a password of the tests' own"
pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A store with the add-on."""
    folder = tmp_path_factory.mktemp("cloud")
    environment = {"ATOLL_ADMIN_PASSWORD": PASSWORD}
    with start_store(
        folder, environment=environment, cloud=True, cloud_port=free_port(), workers=1
    ) as running:
        yield running


def openstack(store: RunningStore, *words: str, **environment: str) -> Any:
    """What a command of python-openstackclient answers, as JSON."""
    clouds = {
        "OS_CLIENT_CONFIG_FILE": str(store.data / "clouds.yaml"),
        "OS_CLOUD": "atoll",
        "HOME": str(store.folder),
    }
    done = subprocess.run(
        ["openstack", *words],
        env=clean_environment(**clouds, **environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "-f" in words else None


def test_the_files_for_clients_are_private(store: RunningStore) -> None:
    for name in ("openrc", "clouds.yaml", "cloud/cloud.db"):
        assert stat.S_IMODE(os.stat(store.data / name).st_mode) == 0o600, name


def test_the_openstack_command_and_swift_with_its_token(store: RunningStore) -> None:
    project = openstack(store, "project", "create", "science", "-f", "json")
    openstack(store, "user", "create", "ada", "--password", "countess", "-f", "json")
    openstack(store, "role", "add", "--user", "ada", "--project", "science", "member")
    issued = openstack(
        store,
        "token",
        "issue",
        "-f",
        "json",
        "--os-username=ada",
        "--os-password=countess",
        "--os-project-name=science",
    )
    assert issued["project_id"] == project["id"]
    catalog = openstack(store, "catalog", "list", "-f", "json")
    assert {"identity", "object-store"} <= {entry["Type"] for entry in catalog}
    account = f"{store.endpoint}/v1/AUTH_{project['id']}"
    connection = swiftclient.Connection(preauthurl=account, preauthtoken=issued["id"])
    connection.put_container("notes")
    connection.put_object("notes", "first", b"note G")
    assert connection.get_object("notes", "first")[1] == b"note G"
    other = swiftclient.Connection(
        preauthurl=f"{store.endpoint}/v1/AUTH_demo", preauthtoken=issued["id"], retries=0
    )
    with pytest.raises(swiftclient.ClientException) as refused:
        other.get_account()
    assert refused.value.http_status == 403
    bad = swiftclient.Connection(preauthurl=account, preauthtoken="nonsense", retries=0)
    with pytest.raises(swiftclient.ClientException) as refused:
        bad.get_account()
    assert refused.value.http_status == 401


def test_s3_with_a_key_of_keystones(store: RunningStore) -> None:
    project = openstack(store, "project", "create", "keys", "-f", "json")
    openstack(store, "role", "add", "--user", "admin", "--project", "keys", "member")
    keys = openstack(store, "ec2", "credentials", "create", "--project", "keys", "-f", "json")

    def client(secret: str, signature: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=store.endpoint,
            region_name="us-east-1",
            aws_access_key_id=keys["access"],
            aws_secret_access_key=secret,
            config=Config(
                signature_version=signature,
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
            ),
        )

    s3 = client(keys["secret"], "s3v4")
    s3.create_bucket(Bucket="of-keystone")
    for signature in ("s3v4", "s3"):
        s3 = client(keys["secret"], signature)
        s3.put_object(Bucket="of-keystone", Key=signature, Body=b"bytes")
        assert s3.get_object(Bucket="of-keystone", Key=signature)["Body"].read() == b"bytes"
        url = s3.generate_presigned_url(
            "get_object", Params={"Bucket": "of-keystone", "Key": signature}
        )
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - of the store started here
            assert answer.read() == b"bytes"
        with pytest.raises(ClientError) as refused:
            client("another secret", signature).list_objects(Bucket="of-keystone")
        assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    token = openstack(store, "token", "issue", "-f", "json", "--os-project-name=keys")["id"]
    account = f"{store.endpoint}/v1/AUTH_{project['id']}"
    connection = swiftclient.Connection(preauthurl=account, preauthtoken=token)
    assert connection.get_object("of-keystone", "s3")[1] == b"bytes"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_the_sdk(store: RunningStore) -> None:
    import openstack as sdk

    cloud = sdk.connect(
        auth_url=f"http://127.0.0.1:{_cloud_port(store)}/identity/v3",
        username="admin",
        password=PASSWORD,
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
        region_name="RegionOne",
    )
    with cloud:
        identity: Any = cloud.identity
        project = identity.create_project(name="by the sdk", tags=["one"])
        assert identity.find_project("by the sdk").id == project.id
        user = identity.create_user(name="grace", password="hopper", default_project_id=project.id)
        role = identity.find_role("reader")
        identity.assign_project_role_to_user(project, user, role)
        found = list(identity.role_assignments(user_id=user.id))
        assert [row.scope["project"]["id"] for row in found] == [project.id]
        identity.delete_user(user)
        identity.delete_project(project)


def _cloud_port(store: RunningStore) -> str:
    text = (store.data / "openrc").read_text()
    return text.split("127.0.0.1:", 1)[1].split("/", 1)[0]


def test_it_starts_again_with_what_it_had(store: RunningStore) -> None:
    before = (store.data / "openrc").read_bytes()
    store.stop()
    store.restart()
    assert "said once" not in store.banner
    assert (store.data / "openrc").read_bytes() == before
    assert openstack(store, "token", "issue", "-f", "json")["id"]
