"""Decides a rule for a caller and a target. Defaults are in code, operators' files override.

Targets are flat: `target.user.domain_id`. The file (`<service>.yaml`) is read anew when it changes.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from oslo_config import cfg
from oslo_policy import policy

ALL_SCOPES: Final = ("system", "domain", "project")


class Rule(NamedTuple):
    """A rule's default. check: in oslo.policy's language. scopes: of tokens it takes, () for any."""

    name: str
    check: str
    scopes: tuple[str, ...] = ()


class Enforcer:
    """The rules of one service. folder: of the operator's policy files, which needs not exist."""

    def __init__(self, service: str, rules: Iterable[Rule], folder: str) -> None:
        conf = cfg.ConfigOpts()
        conf([], project=service, default_config_files=[], default_config_dirs=[])
        path = os.path.join(folder, f"{service}.yaml")
        self._enforcer = policy.Enforcer(conf, policy_file=path)
        conf.set_override("policy_dirs", [], group="oslo_policy")
        for rule in rules:
            self._enforcer.register_default(
                policy.RuleDefault(rule.name, rule.check, scope_types=list(rule.scopes) or None)
            )
        self._lock = threading.Lock()  # a changed file is read by whoever asks next
        self._enforcer.load_rules()

    def allows(self, rule: str, target: Mapping[str, Any], credentials: Mapping[str, Any]) -> bool:
        """Whether the caller with these credentials may."""
        with self._lock:
            return bool(self._enforcer.enforce(rule, dict(target), dict(credentials)))


def flat(target: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables with their keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in target.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
