"""A cluster for tests: several nodes as real processes on loopback, each in a zone of its own.

`start_cluster` starts them together, as an operator would a new cluster, and ends them with SIGTERM. A
node can be killed, frozen with SIGSTOP, stopped and started again; `tests.cluster.s3.connect` makes a
client of any of them.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from runtime.randomness import SystemRandomness
from tests.api.store import RunningStore, StoreFailed, clean_environment, free_ports
from tests.cluster.links import Hosts
from tests.cluster.proxies import Proxies
from tools.main import main as atoll

KEYS: Final = {
    "ATOLL_ACCESS_KEY": "cluster-access-key",
    "ATOLL_SECRET_KEY": "cluster-secret-key-of-the-tests",
}
"""The same users on every node."""


class Node(RunningStore):
    """One node. Its name is n0, n1 …, its zone z0, z1 …"""

    name: str
    cluster_port: int

    def freeze(self) -> None:
        """SIGSTOP to all its processes: it keeps its connections and says nothing."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        os.killpg(self.pid, signal.SIGCONT)

    @property
    def ring(self) -> Path:
        """The file of the ring that it has adopted."""
        return self.data / "ring"


class Cluster:
    """Nodes that know each other. certificates: where the CA and theirs are, None without TLS."""

    def __init__(
        self,
        folder: Path,
        count: int,
        *,
        workers: int = 1,
        devices: int = 2,
        keepers: int = 3,
        tls: bool = False,
        hosts: Hosts | Proxies | None = None,
        **options: object,
    ) -> None:
        """hosts: where the nodes run, one on each; all on loopback without."""
        self.folder = folder
        self._hosts = hosts
        self.secret_file = folder / "secret"
        self.secret_file.touch(mode=0o600)
        self.secret_file.write_text(SystemRandomness().token(32).hex())
        self.certificates = folder / "certificates" if tls else None
        if self.certificates:
            _atoll("node", "certificate", "ca", "--out", str(self.certificates))
        self._ports = [free_ports(workers) for _ in range(count)]
        self._addresses = [self._cluster_address(n, workers) for n in range(count)]
        self._options: dict[str, object] = {
            "workers": workers,
            "devices": devices,
            "part_power": 6,
            "keepers": self._addresses[:keepers],
            "bootstrap_nodes": count,
            "cluster_secret_file": str(self.secret_file),
            **options,
        }
        self.nodes = [self._node(number) for number in range(count)]

    def _address(self, number: int) -> str:
        return self._hosts.addresses[number] if self._hosts else "127.0.0.1"

    def _cluster_address(self, number: int, workers: int) -> str:
        port = self._ports[number]
        return (
            self._hosts.cluster_address(number, port, workers) if self._hosts else f"127.0.0.1:{port}"
        )

    def _node(self, number: int) -> Node:
        name, port = f"n{number}", self._ports[number]
        folder = self.folder / name
        folder.mkdir()
        options = {**self._options, "node": name, "zone": f"z{number}"}
        address = self._address(number)
        options |= {"listen": address, "admin_listen": address, "cluster_listen": f"{address}:{port}"}
        options["cluster_address"] = self._addresses[number]
        if self.certificates:
            options |= self.certificate_options(name)
        wrapper = self._hosts.wrappers[number] if self._hosts else ()
        node = Node(folder, clean_environment(**KEYS), options, wrapper)
        node.host = address
        node.name, node.cluster_port = name, port
        return node

    def certificate_options(self, name: str) -> dict[str, str]:
        """A certificate of the cluster's CA for a node, as its configuration names it."""
        at = self.certificates
        assert at is not None
        command = ("node", "certificate", "node", name, "--ca", str(at), "--out", str(at))
        _atoll(*command, "--host", "127.0.0.1")
        return {
            "cluster_ca": str(at / "ca.pem"),
            "cluster_certificate": str(at / f"{name}.pem"),
            "cluster_key": str(at / f"{name}.key"),
        }

    def add_node(self, **options: object) -> Node:
        """One more node, not started; the ring does not know it."""
        self._ports.append(free_ports(1))
        self._addresses.append(self._cluster_address(len(self.nodes), 1))
        self._options |= options
        node = self._node(len(self.nodes))
        self.nodes.append(node)
        return node

    def start(self) -> None:
        """Start all of them at once: none serves before the others have announced themselves."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.start(), self.nodes))

    def stop(self) -> None:
        """SIGTERM to all that run, as an operator would; each must end in order."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(_stop, self.nodes))

    def kill(self) -> None:
        """SIGKILL to all."""
        for node in self.nodes:
            if node.started:
                node.kill()


def _stop(node: Node) -> None:
    if node.runs:
        node.thaw()
        node.stop()


def _atoll(*arguments: str) -> None:
    if atoll(arguments) != 0:
        raise StoreFailed(f"atoll {' '.join(arguments)} failed")


@contextlib.contextmanager
def start_cluster(folder: Path, count: int = 4, **options: object) -> Iterator[Cluster]:
    """A cluster that serves; at the end its nodes are stopped and checked. options: of `Cluster`, and
    configuration keys of every node."""
    cluster = Cluster(folder, count, **options)  # type: ignore[arg-type]
    try:
        cluster.start()
        yield cluster
    except BaseException:
        cluster.kill()
        raise
    cluster.stop()
