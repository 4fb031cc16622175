"""What `atoll doctor` looks at: each check is a function that yields findings and changes nothing.

The one exception writes a file of a few bytes to see whether syncs work, and removes it. The command
and the order of the checks are in `tools.doctor`.
"""

import contextlib
import importlib.metadata
import os
import platform
import re
import resource
import socket
import stat
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from proxy.auth.errors import UserFileInvalid
from proxy.auth.user_file import FILE_BYTES_MAX, parse_users
from proxy.core.errors import UnknownPolicy
from proxy.core.policies import policy_named
from ring.errors import RingError
from ring.file import load as load_ring
from ring.lookup import Ring
from ring.types import ROWS, Device
from ring.verify import verify
from runtime.certificate import ServedCertificate
from runtime.config import Config
from runtime.disk import RealDisk
from runtime.errors import ConfigError
from storage.device import identity
from storage.erasure.contract import CodecError
from storage.erasure.registry import make_codec
from tools.data import credentials_path, ring_path
from tools.finding import Finding, ok, problem, size_text, warning
from tools.lifetime import check_lifetime

PYTHON_MIN: Final = (3, 11)
OPEN_FILES_MIN: Final = 4096
"""Connections, journal segments and blobs of one worker under load."""
SYNC_SAMPLES: Final = 5
ROOM_LOW: Final = 0.1
"""A file system with less free than this share of it will soon be full."""
SYNC_SLOW_S: Final = 0.05
TIME_MIN: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this has never been set."""
SKEW_MAX_S: Final = 60.0
"""How far ahead stamps may be before replicas refuse them (DESIGN: 60 s)."""
SECRET_MODE_MASK: Final = 0o077

_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)$")


# ---- the machine ---------------------------------------------------------------------------------


def check_python() -> Iterator[Finding]:
    """The interpreter."""
    version = platform.python_version()
    if tuple(map(int, platform.python_version_tuple()[:2])) >= PYTHON_MIN:
        yield ok("python", f"Python {version} on {platform.system()} {platform.release()}")
    else:
        yield problem("python", f"Python {version} is too old; install 3.11 or newer")


def check_libraries() -> Iterator[Finding]:
    """What the distribution asks for is installed, new enough."""
    try:
        wanted = importlib.metadata.requires("atoll") or []
    except importlib.metadata.PackageNotFoundError:
        yield warning("libraries", "the distribution atoll is not installed; `make up` installs it")
        return
    found: list[str] = []
    for requirement in wanted:
        if match := _REQUIREMENT.match(requirement):  # those of extras end in a marker
            name, minimum = match.groups()
            version = _version(name)
            if version is None or _numbers(version) < _numbers(minimum):
                have = f"version {version}" if version else "not installed"
                yield problem("libraries", f"{name} is {have}; `make up` installs {minimum} or newer")
            found.append(f"{name} {version}")
    yield ok("libraries", ", ".join(found))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def check_open_files() -> Iterator[Finding]:
    """The limit on open files, sockets included."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_MIN:
        yield ok("open files", f"a process may open {soft} files")
    else:
        yield warning(
            "open files",
            f"a process may open only {soft} files; under load connections will be refused. "
            f"Raise it with `ulimit -n {OPEN_FILES_MIN}` or LimitNOFILE",
        )


def check_clock(data: str, now: datetime) -> Iterator[Finding]:
    """Signatures and stamps need a clock that was set and does not go back."""
    newest = max((os.stat(path).st_mtime for path in _dated_files(data)), default=TIME_MIN.timestamp())
    ahead_s = newest - now.timestamp()
    if now < TIME_MIN:
        yield problem("clock", f"the clock says {now:%Y-%m-%d}: it was never set; set it, or start NTP")
    elif ahead_s > SKEW_MAX_S:
        yield problem(
            "clock",
            f"the clock is {ahead_s:.0f} s behind the newest file of the store; writes over "
            f"{SKEW_MAX_S:.0f} s ahead are refused until it is set",
        )
    else:
        yield ok("clock", f"the clock says {now:%Y-%m-%d %H:%M:%S} UTC, after all that is stored")


def _dated_files(data: str) -> Iterator[str]:
    yield from (path for path in (os.path.join(data, "ring"),) if os.path.exists(path))
    for folder, _, names in os.walk(os.path.join(data, "devices")):
        if os.path.basename(folder) == "journal":
            yield from (os.path.join(folder, name) for name in names)


def check_port(about: str, host: str, port: int, *, running: bool) -> Iterator[Finding]:
    """Whether the store can listen, or listens already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if running:
                yield ok(about, f"{host} port {port} is served by this store, which is running")
            else:
                yield problem(
                    about,
                    f"can't listen on {host} port {port}: {error.strerror}. Stop who does, or choose "
                    "another port in the configuration",
                )
            return
    yield ok(about, f"{host} port {port} is free")


# ---- the data directory --------------------------------------------------------------------------


def check_data(config: Config) -> Iterator[Finding]:
    """The data directory and the modes of its secrets."""
    if not os.path.isdir(config.data):
        yield warning("data", f"there is no {config.data} yet; `atoll up` makes it")
        return
    yield _closed("data", config.data, "700")
    # In a cluster the secret is a file of the configuration; `tools.cluster_checks` looks at it.
    for name in ("credentials.toml",) if config.cluster_listen else ("secret", "credentials.toml"):
        path = os.path.join(config.data, name)
        if os.path.exists(path):
            yield _closed(name.partition(".")[0], path, "600")
        else:
            yield warning("data", f"there is no {path} yet; `atoll up` makes it")


def _closed(about: str, path: str, mode_wanted: str) -> Finding:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & SECRET_MODE_MASK:
        return problem(
            about, f"{path} has mode {mode:04o}: others may read it. `chmod {mode_wanted} {path}`"
        )
    return ok(about, f"{path} is closed to others (mode {mode:04o})")


def check_users(config: Config) -> Iterator[Finding]:
    """The users can be read. (Not by `read_users`, which would close the file to others.)"""
    path = credentials_path(config)
    if not os.path.exists(path):
        return
    try:
        with open(path, encoding="utf-8") as file:
            users = parse_users(file.read(FILE_BYTES_MAX), path)
    except (UserFileInvalid, UnicodeDecodeError) as error:
        yield problem("users", f"{error}; repair it, or move it away and add the users anew")
        return
    if users.by_name:
        yield ok("users", f"{len(users.by_name)} users in {path}")
    else:
        yield warning("users", f"there are no users in {path}; `atoll user add NAME` makes one")


def check_ring(config: Config) -> tuple[Ring | None, list[Finding]]:
    """The ring, where there is one that can be read, and what there is to say of it."""
    path = ring_path(config)
    if not os.path.exists(path):
        return None, [warning("ring", f"there is no ring at {path} yet; `atoll up` makes one")]
    try:
        ring = load_ring(path)
    except (RingError, OSError) as error:
        return None, [problem("ring", f"{path}: {error}. Put back a copy of it; devices are untouched")]
    faults = verify(ring).faults
    if faults:
        return ring, [
            problem("ring", f"{fault}; `atoll ring plan` shows the repair") for fault in faults
        ]
    text = f"epoch {ring.epoch}, {len(ring.members)} devices, {ring.partition_count} partitions, sound"
    return ring, [ok("ring", text)]


def check_devices(ring: Ring, own: Sequence[Device]) -> Iterator[Finding]:
    """Each device of this node is there and is the one that the ring means."""
    found = {member.id: _device(member.path, member.id, ring.cluster_id) for member in own}
    any_formatted = any(isinstance(result, identity.Identity) for result in found.values())
    for member in own:
        about, result = f"device {member.id}", found[member.id]
        if isinstance(result, identity.Identity):
            yield ok(about, f"{member.path} is device {member.id} of this cluster")
        elif result is not None:
            yield problem(about, f"{result}. Mount or name the right directory, or remove the device")
        elif any_formatted:
            yield problem(
                about,
                f"{member.path} is empty, but other devices hold data: its disk is not mounted, or "
                "was wiped. It stays offline until it is mounted",
            )
        else:
            yield ok(about, f"{member.path} is not formatted yet; the first start does it")


def _device(path: str, device_id: int, cluster: str) -> identity.Identity | str | None:
    """Who is there; None for nobody, a sentence for a stranger."""
    try:
        found = identity.load(RealDisk(), path)
        if found is not None:
            identity.check(found, device_id, cluster, path)
    except FileNotFoundError:
        return None
    except (identity.DeviceRefused, OSError) as error:
        return str(error)
    return found


def check_codecs(ring: Ring | None) -> Iterator[Finding]:
    """The erasure codecs compute, and those that the ring's policies name are there."""
    needed: dict[str, list[str]] = {}
    for placement in ring.placements if ring else ():
        if placement.name != ROWS:
            try:
                policy = policy_named(placement.name)
            except UnknownPolicy:
                yield problem("policies", f"no policy is called {placement.name!r}")
                continue
            needed.setdefault(policy.codec, []).append(policy.name)
    for name in ("isa_l_rs_cauchy", "zfec"):
        fault = _codec_fault(name)
        users = ", ".join(needed.get(name, ()))
        if not fault:
            yield ok("codecs", f"{name} works" + (f"; {users} uses it" if users else ""))
        elif users:
            yield problem("codecs", f"{users} needs {name}: {fault}. `make up` installs it")
        else:
            yield warning("codecs", f"{name}: {fault}. No policy of this ring uses it")


def _codec_fault(name: str) -> str:
    """What is wrong with a codec, "" for nothing: a segment is rebuilt from half of its fragments."""
    segment = bytes(range(256)) * 16
    try:
        codec = make_codec(name, 2, 2)
        fragments = codec.encode(segment)
        rebuilt = codec.decode({2: fragments[2], 3: fragments[3]}, len(segment))
    except (CodecError, OSError) as error:
        return str(error)
    return "" if rebuilt == segment else "it rebuilds wrong bytes"


# ---- disks ---------------------------------------------------------------------------------------


def check_disks(paths: Iterable[str], reserve_bytes: int) -> Iterator[Finding]:
    """Type, room and syncs of each file system that holds one of `paths`."""
    seen: set[int] = set()
    for path in paths:
        place = _existing(path)
        number = os.stat(place).st_dev
        if number not in seen:
            seen.add(number)
            yield from _check_disk(place, reserve_bytes)


def _existing(path: str) -> str:
    """The path, or the nearest directory above it that is there."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _check_disk(place: str, reserve_bytes: int) -> Iterator[Finding]:
    yield _file_system(place)
    free_bytes = RealDisk().free_bytes(place)
    size = os.statvfs(place)
    free_share = size.f_bavail / max(1, size.f_blocks)
    room = f"{place}: {size_text(free_bytes)} free ({100 * free_share:.0f} %)"
    if free_bytes < reserve_bytes:
        yield problem(
            "space",
            f"{room} is below the reserve of {size_text(reserve_bytes)} (device_reserve_bytes): writes "
            "are refused until there is room",
        )
    elif free_share < ROOM_LOW:
        yield warning("space", f"{room}: add devices, or delete, before it is full and refuses writes")
    else:
        yield ok("space", f"{room}, {size_text(reserve_bytes)} reserved")
    try:
        sync_s = measure_sync_s(place)
    except OSError as error:
        yield problem("sync", f"{place}: writing and syncing fails: {error}")
        return
    if sync_s > SYNC_SLOW_S:
        yield warning(
            "sync", f"{place}: a sync takes {sync_s * 1000:.0f} ms; small writes will be slow"
        )
    else:
        yield ok("sync", f"{place}: fdatasync works and takes {sync_s * 1000:.2f} ms")


def _file_system(place: str) -> Finding:
    kind = file_system_type(place)
    if kind in _VOLATILE:
        return warning("file system", f"{place} is on {kind}: everything is gone after a restart")
    if kind in _REMOTE:
        return warning("file system", f"{place} is on {kind}: LMDB and locks need a local file system")
    return ok("file system", f"{place} is on {kind or 'a file system of unknown type'}")


def file_system_type(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """The type of the mount that holds `path`, "" where the kernel does not tell (proc(5))."""
    best, kind = "", ""
    try:
        with open(mountinfo, encoding="utf-8") as file:
            lines = file.readlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def measure_sync_s(place: str) -> float:
    """The median time of a 4 KiB append with fdatasync, in a file that is removed. Raises OSError."""
    path = os.path.join(place, f".atoll-doctor-{os.getpid()}")
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        samples = []
        for _ in range(SYNC_SAMPLES):
            begun = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            samples.append(time.perf_counter() - begun)
        return statistics.median(samples)
    finally:
        os.close(descriptor)
        os.unlink(path)


# ---- certificates --------------------------------------------------------------------------------


def check_certificate(config: Config, now: datetime) -> Iterator[Finding]:
    """The public port's certificate and key fit, and last."""
    if not config.tls_certificate:
        return
    try:
        ServedCertificate(config.tls_certificate, config.tls_key)
        with open(config.tls_certificate, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (ConfigError, OSError, ValueError) as error:
        yield problem("certificate", f"{error}; it must be PEM, the server's certificate first")
        return
    yield check_lifetime("certificate", certificate, now, "renew it")
    with contextlib.suppress(OSError):
        yield _closed("tls key", config.tls_key, "600")
