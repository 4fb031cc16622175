"""Hosts that cables join: each a network namespace, on a switch in one more, cut and slowed at will.

A process holds each namespace open and ends with its standard input, so that nothing stays even where
the tests are killed. The tests' own thread steps into the switch's namespace to talk to the hosts.
Needs root, as making namespaces that another process enters does.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

SWITCH_ADDRESS: Final = "10.83.0.254"
END_WITHIN_S: Final = 10.0
_CLONE_NEWNET: Final = 0x40000000
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Hosts:
    """Some hosts on one switch. addresses: theirs; wrappers: run a command on one."""

    def __init__(self, switch: int, pids: Sequence[int]) -> None:
        self._switch = switch
        self._pids = pids
        self.addresses = [f"10.83.0.{number + 1}" for number in range(len(pids))]
        self.wrappers = [_inside(pid) for pid in pids]

    def cluster_address(self, number: int, port: int, workers: int) -> str:
        """Where the others find the node that listens on `port` and those behind it."""
        return f"{self.addresses[number]}:{port}"

    def wire(self) -> None:
        """Set up the switch, and a cable to each host."""
        self._on_switch("ip", "link", "set", "lo", "up")
        self._on_switch("ip", "link", "add", "sw", "type", "bridge")
        self._on_switch("ip", "addr", "add", f"{SWITCH_ADDRESS}/24", "dev", "sw")
        self._on_switch("ip", "link", "set", "sw", "up")
        for number, pid in enumerate(self._pids):
            port = f"p{number}"
            peer = ("peer", "name", "eth0", "netns", str(pid))
            self._on_switch("ip", "link", "add", port, "type", "veth", *peer)
            self._on_switch("ip", "link", "set", port, "master", "sw", "up")
            address = ("ip", "addr", "add", f"{self.addresses[number]}/24", "dev", "eth0")
            for words in (("ip", "link", "set", "lo", "up"), address):
                _run([*self.wrappers[number], *words])
            _run([*self.wrappers[number], "ip", "link", "set", "eth0", "up"])

    def _on_switch(self, *words: str) -> None:
        _run([*_inside(self._switch), *words])

    def cut(self, number: int) -> None:
        """Pull a host's cable: what is under way is lost, and nobody is told."""
        self._on_switch("ip", "link", "set", f"p{number}", "nomaster")

    def mend(self, number: int) -> None:
        """Plug it in again."""
        self._on_switch("ip", "link", "set", f"p{number}", "master", "sw")

    def slow(self, number: int, kbit_s: int) -> None:
        """Let a cable carry no more than this in either direction; what waits over 2 s is dropped."""
        shape = ("root", "tbf", "rate", f"{kbit_s}kbit", "burst", "16kb", "latency", "2s")
        self._on_switch("tc", "qdisc", "replace", "dev", f"p{number}", *shape)
        _run([*self.wrappers[number], "tc", "qdisc", "replace", "dev", "eth0", *shape])

    def quicken(self, number: int) -> None:
        """Take `slow` back."""
        self._on_switch("tc", "qdisc", "del", "dev", f"p{number}", "root")
        _run([*self.wrappers[number], "tc", "qdisc", "del", "dev", "eth0", "root"])

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread's new sockets, and its new threads', are on the switch."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(f"/proc/{self._switch}/ns/net")
            try:
                yield
            finally:
                if _libc.setns(home, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "the way back from the switch is lost")
        finally:
            os.close(home)


@contextmanager
def separate_hosts(count: int) -> Iterator[Hosts]:
    """So many hosts on a switch, and the calling thread on it too; nothing is left afterwards."""
    with ExitStack() as stack:
        pids = [stack.enter_context(_namespace()) for _ in range(count + 1)]
        hosts = Hosts(pids[0], pids[1:])
        hosts.wire()
        stack.enter_context(hosts.entered())
        yield hosts


@contextmanager
def _namespace() -> Iterator[int]:
    """The process that holds a new network namespace."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo made; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != "made\n":
            raise OSError("a network namespace could not be made (only root may)")
        yield holder.pid
    finally:
        holder.stdin.close()
        holder.wait(END_WITHIN_S)
        holder.stdout.close()


def _inside(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def _enter(namespace: str) -> None:
    fd = os.open(namespace, os.O_RDONLY)
    try:
        if _libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"{namespace} can't be entered")
    finally:
        os.close(fd)
