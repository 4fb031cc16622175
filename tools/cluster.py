"""`make cluster`: four nodes in four zones as processes on loopback, to look at and to break.

Everything is in a new temporary directory, which Ctrl-C removes with the processes. Prints the
endpoints and how to stop, cut off and corrupt a node. Each node is a real `atoll up` with a
configuration file of its own, so what is tried here is what runs on four machines.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from tools.main import main as atoll

NODES: Final = 4
KEEPERS: Final = 3
DEVICES: Final = 2
PORT_DEFAULT: Final = 8180
PORTS: Final = 3 * 10
"""From the first one on: ten for clients, ten admin ports, ten for the nodes themselves."""
STARTS_WITHIN_S: Final = 60.0
ENDS_WITHIN_S: Final = 30.0
ACCESS_KEY: Final = "cluster"
READY: Final = "Atoll serves S3 and Swift"


class Node(NamedTuple):
    """One node: its name, its directory and its ports."""

    name: str
    folder: str
    port: int
    admin_port: int
    cluster_port: int

    @property
    def config(self) -> str:
        """Its configuration file."""
        return os.path.join(self.folder, "atoll.toml")

    @property
    def log(self) -> str:
        """What it has printed."""
        return os.path.join(self.folder, "log")


def nodes_in(folder: str, port: int) -> list[Node]:
    """The nodes of a cluster in a directory, with PORTS ports from `port` on."""
    return [
        Node(
            name := f"node-{letter}",
            os.path.join(folder, name),
            port + number,
            port + 10 + number,
            port + 20 + number,
        )
        for number, letter in enumerate("abcdefgh"[:NODES])
    ]


def settings(nodes: Sequence[Node], node: Node, folder: str, *, tls: bool) -> dict[str, object]:
    """The configuration of one node."""
    found: dict[str, object] = {
        "data": "data",
        "node": node.name,
        "zone": f"zone-{node.name[-1]}",
        "port": node.port,
        "admin_port": node.admin_port,
        "workers": 1,
        "devices": DEVICES,
        "part_power": 8,
        "cluster_listen": f"127.0.0.1:{node.cluster_port}",
        "keepers": [f"127.0.0.1:{keeper.cluster_port}" for keeper in nodes[:KEEPERS]],
        "bootstrap_nodes": len(nodes),
        "cluster_secret_file": os.path.join(folder, "secret"),
    }
    if tls:
        for key, name in (
            ("cluster_ca", "ca.pem"),
            ("cluster_certificate", f"{node.name}.pem"),
            ("cluster_key", f"{node.name}.key"),
        ):
            found[key] = os.path.join(folder, "certificates", name)
    return found


def prepare(nodes: Sequence[Node], folder: str, *, tls: bool) -> None:
    """Write everything that the nodes need."""
    _quietly("node", "secret", os.path.join(folder, "secret"))
    at = os.path.join(folder, "certificates")
    if tls:
        _quietly("node", "certificate", "ca", "--out", at)
    for node in nodes:
        os.makedirs(node.folder)
        if tls:
            command = ("node", "certificate", "node", node.name, "--ca", at, "--out", at)
            _quietly(*command, "--host", "127.0.0.1")
        with open(node.config, "w", encoding="utf-8") as file:
            for key, value in settings(nodes, node, folder, tls=tls).items():
                file.write(f"{key} = {json.dumps(value)}\n")


def _quietly(*words: str) -> None:
    with contextlib.redirect_stdout(None):
        status = atoll(words)
    if status:
        raise AtollError(f"atoll {' '.join(words)} failed")


def require_ports(nodes: Sequence[Node]) -> None:
    """Raises AtollError where one is in use."""
    for port in (p for n in nodes for p in (n.port, n.admin_port, n.cluster_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise AtollError(f"port {port} is in use: {error.strerror}") from error


@contextlib.contextmanager
def running(
    nodes: Sequence[Node], keys: dict[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The nodes as processes, each in a group of its own; all of them have ended afterwards."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for node in nodes:
            processes[node.name] = start(node, keys)
        yield processes
    finally:
        for process in processes.values():
            end(process)


def start(node: Node, keys: dict[str, str]) -> subprocess.Popen[bytes]:
    """One node as a process; its log begins anew."""
    with open(node.log, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tools.main", "up", "--config", node.config],
            env={**os.environ, **keys},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, also to one that was stopped, and SIGKILL where that does not help."""
    for number in (signal.SIGCONT, signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(ENDS_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_ready(nodes: Sequence[Node], processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Until every node serves. Raises AtollError with what a node has said that does not."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    for node in nodes:
        while READY not in (text := _read(node.log)):
            if processes[node.name].poll() is not None or time.monotonic() > deadline:
                raise AtollError(f"{node.name} does not serve:\n{text}")
            time.sleep(0.05)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def guide(nodes: Sequence[Node], pids: dict[str, int], keys: dict[str, str], folder: str) -> str:
    """What to do with it."""
    last, atoll_command = nodes[-1], os.path.join(os.path.dirname(sys.executable), "atoll")
    blobs = f"find {last.folder}/data/devices -path '*/blobs/*' -size +64k"
    table = "\n".join(
        f"  {node.name}  S3 and Swift http://127.0.0.1:{node.port}   status "
        f"http://127.0.0.1:{node.admin_port}   process group {pids[node.name]}"
        for node in nodes
    )
    return f"""Four nodes in four zones serve one store, in {folder}:

{table}

  export AWS_ACCESS_KEY_ID={keys["ATOLL_ACCESS_KEY"]} AWS_SECRET_ACCESS_KEY={keys["ATOLL_SECRET_KEY"]}
  export AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=http://127.0.0.1:{nodes[0].port}
  aws s3 mb s3://first && head -c 20000000 /dev/urandom | aws s3 cp - s3://first/large
  AWS_ENDPOINT_URL=http://127.0.0.1:{last.port} aws s3 ls s3://first

Look at it     {atoll_command} status --admin-url http://127.0.0.1:{nodes[0].admin_port}
               {atoll_command} node list --data {nodes[0].folder}/data
Stop {last.name}    kill -KILL -{pids[last.name]}
  start it     {atoll_command} up --config {last.config}
Cut it off     kill -STOP -{pids[last.name]}     it keeps its connections and says nothing
  let it go on kill -CONT -{pids[last.name]}
Corrupt it     for blob in $({blobs}); do
                 printf X | dd of=$blob bs=1 seek=9000 conv=notrunc; done
               what is read is right all the same, and mended

Ctrl-C ends all of it and removes {folder}."""


def main(argv: Sequence[str] | None = None) -> int:
    """Until Ctrl-C or SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument(
        "--tls", action="store_true", help="TLS between the nodes, with a CA of its own"
    )
    parser.add_argument(
        "--port", type=int, default=PORT_DEFAULT, help=f"the first of {PORTS} ports ({PORT_DEFAULT})"
    )
    parser.add_argument("--keep", action="store_true", help="leave the directory behind")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="atoll-cluster-")
    nodes = nodes_in(folder, args.port)
    keys = {
        "ATOLL_ACCESS_KEY": ACCESS_KEY,
        "ATOLL_SECRET_KEY": SystemRandomness().token(20).hex(),
    }
    try:
        require_ports(nodes)
        prepare(nodes, folder, tls=args.tls)
        with running(nodes, keys) as processes:
            wait_until_ready(nodes, processes)
            pids = {name: process.pid for name, process in processes.items()}
            print(guide(nodes, pids, keys, folder), flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            print("stopping the nodes", flush=True)
    except KeyboardInterrupt:
        return 130
    except (AtollError, OSError) as error:
        print(f"make cluster: {error}", file=sys.stderr)
        return 1
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
