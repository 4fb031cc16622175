"""Storage policies by name: `replicated-N`, `ec-K-M` (ISA-L) and `ec-K-M-zfec` say all there is."""

import re

from proxy.core.errors import UnknownPolicy
from proxy.core.types import Policy

_REPLICATED = re.compile(r"replicated-([1-9][0-9]?)")
_CODED = re.compile(r"ec-([1-9][0-9]?)-([1-9][0-9]?)(-zfec)?")


def policy_named(name: str) -> Policy:
    """Raises UnknownPolicy."""
    if match := _REPLICATED.fullmatch(name):
        return Policy(name, int(match[1]), 0)
    if match := _CODED.fullmatch(name):
        return Policy(name, int(match[1]), int(match[2]), "zfec" if match[3] else "isa_l_rs_cauchy")
    raise UnknownPolicy(name)
