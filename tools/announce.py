"""How a cluster begins: nodes announce their devices to the keepers, the first keeper makes the ring.

Run by worker 0 of each node. What is decided is `first_ring`, which is pure but for the ids it draws.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from proxy.cluster.nodes import Announced, NodeRegister, TooManyNodes
from proxy.cluster.register import RingRegister, StaleRing
from proxy.core.errors import StoreError
from ring.builder import build
from ring.lookup import Ring
from ring.types import Device, default_placements
from runtime.config import Config
from runtime.randomness import Randomness
from tools.data import device_paths

AGAIN_S: Final = 0.5
"""Before keepers that could not be reached are asked again, or nodes that are missing looked for."""

log = logging.getLogger("atoll")


def announcement(config: Config) -> Announced:
    """What this node says of itself."""
    paths = device_paths(config)
    return Announced(config.node, config.node_region, config.zone, config.own_address, paths)


def first_ring(nodes: Sequence[Announced], part_power: int, randomness: Randomness) -> Ring:
    """A ring of all devices of these nodes, in the order of the nodes' names. Raises RingError."""
    places = [(node, path) for node in sorted(nodes, key=lambda n: n.node) for path in node.paths]
    members = [
        Device(
            id=number,
            incarnation=randomness.token(16).hex(),
            region=node.region,
            zone=node.zone,
            node=node.node,
            address=node.address,
            path=path,
            weight=1.0,
        )
        for number, (node, path) in enumerate(places)
    ]
    return build(
        members,
        default_placements(len(members)),
        part_power,
        int.from_bytes(randomness.token(8), "big"),
        cluster_id=randomness.token(16).hex(),
    )


async def announce(config: Config, nodes: NodeRegister) -> None:
    """Tell the keepers who we are, however long it takes."""
    while True:
        try:
            await nodes.announce(announcement(config))
            return
        except StoreError:  # no majority of keepers is there yet
            await asyncio.sleep(AGAIN_S)
        except TooManyNodes as error:
            log.error("this node can't be announced: %s", error)
            return


async def begin_cluster(
    config: Config, nodes: NodeRegister, register: RingRegister, randomness: Randomness
) -> None:
    """Make the first ring when enough nodes have come; end when there is a ring, whoever made it."""
    while True:
        with contextlib.suppress(StoreError):
            if await register.epoch():
                return
            known = await nodes.read()
            if len(known) >= config.bootstrap_nodes:
                with contextlib.suppress(StaleRing):
                    await register.replace(first_ring(known, config.part_power, randomness))
        await asyncio.sleep(AGAIN_S)


def begins_clusters(config: Config) -> bool:
    """Whether this node is the one that makes a new cluster's first ring."""
    return bool(config.bootstrap_nodes) and config.own_address == config.keepers[0]
