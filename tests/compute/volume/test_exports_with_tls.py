"""Volumes are exported over TCP with TLS, to real clients."""

import asyncio
import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from compute.objects.memory import MemoryStore
from runtime.config import parse
from runtime.errors import AtollError, ConfigError
from tests.api.store import free_port
from tests.compute.volume.whole import Whole, started

MIB = 1024 * 1024


def openssl(*words: str) -> None:
    """One command."""
    subprocess.run(("openssl", *words), check=True, capture_output=True)


def certificate(folder: Path, name: str, *, usage: str) -> None:
    """NAME-cert.pem and NAME-key.pem, signed by the CA."""
    key, request, made = (folder / f"{name}-{end}.pem" for end in ("key", "request", "cert"))
    more = folder / f"{name}.cnf"
    more.write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", *curve, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
    ca = ("-CA", str(folder / "ca-cert.pem"), "-CAkey", str(folder / "ca-key.pem"))
    signed = ("-req", "-in", str(request), *ca, "-CAcreateserial", "-days", "2")
    openssl("x509", *signed, "-extfile", str(more), "-out", str(made))


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A CA, the server's and a client's certificate, as libnbd wants them named."""
    folder = tmp_path / "papers"
    folder.mkdir()
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(folder / "ca-key.pem"), "-out", str(folder / "ca-cert.pem")),
        *("-subj", "/CN=our CA", "-days", "2"),
    )
    certificate(folder, "server", usage="serverAuth")
    certificate(folder, "client", usage="clientAuth")
    return folder


def listen() -> str:
    """An address."""
    return f"127.0.0.1:{free_port()}"


async def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A program beside this loop."""
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )


async def exported(whole: Whole) -> dict[str, object]:
    """A new volume's connection."""
    made = await whole.volume()
    fields = {
        "volume_uuid": made["id"],
        "instance_uuid": str(uuid.uuid4()),
        "connector": {"host": "other"},
    }
    told = await whole.ok("POST", "/attachments", {"attachment": fields})
    found: dict[str, object] = told["attachment"]["connection_info"]
    return found


@pytest.mark.parametrize("with_client_ca", [False, True])
async def test_a_client_on_another_host(
    with_client_ca: bool, papers: Path, database: str, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"nbd_client_ca": str(papers / "ca-cert.pem")} if with_client_ca else {}
    files: dict[str, Any] = {
        "nbd_certificate": str(papers / "server-cert.pem"),
        "nbd_key": str(papers / "server-key.pem"),
    }
    async with started(
        tmp_path, database, MemoryStore(), nbd_listen=listen(), **files, **more
    ) as whole:
        where = await exported(whole)
        assert where["tls"] is True
        place = f"{where['host']}:{where['port']}/{where['export']}"
        uri = f"nbds://{place}?tls-certificates={papers}"
        told = await run("nbdinfo", "--json", uri)
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["exports"][0]["export-size"] == 1024 * MIB
        (tmp_path / "data").write_bytes(b"over TLS" * 1000)
        done = await run("nbdcopy", "--flush", str(tmp_path / "data"), uri)
        assert done.returncode == 0, done.stderr
        near = f"nbd+unix:///{where['export']}?socket={where['unix']}"
        done = await run("nbdcopy", near, str(tmp_path / "back"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "back").read_bytes()[:8000] == b"over TLS" * 1000
        assert (await run("nbdinfo", f"nbd://{place}")).returncode != 0, "without TLS"
        for name in ("client-cert.pem", "client-key.pem"):
            (papers / name).unlink()
        assert (await run("nbdinfo", uri)).returncode == (1 if with_client_ca else 0)


async def test_what_is_wrong_is_said_at_the_start(papers: Path, database: str, tmp_path: Path) -> None:
    for text, said in (
        ('volume_nbd_listen = "127.0.0.1:1"', "needs volume_nbd_certificate"),
        ('volume_nbd_listen = "nowhere"', "HOST:PORT"),
        ('volume_nbd_key = "k"', "nothing listens"),
        (
            'volume_nbd_listen = "0.0.0.0:1"\nvolume_nbd_certificate = "c"\nvolume_nbd_key = "k"',
            "volume_nbd_address must be given",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            parse(text, "atoll.toml")
    (papers / "server-key.pem").write_text("no key")
    files: dict[str, Any] = {
        "nbd_certificate": str(papers / "server-cert.pem"),
        "nbd_key": str(papers / "server-key.pem"),
    }
    with pytest.raises(AtollError, match="volume_nbd_listen"):
        async with started(tmp_path, database, MemoryStore(), nbd_listen=listen(), **files):
            pass
