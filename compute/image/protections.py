"""Protected properties: who may create, read, update and delete which of an image's own properties.

Upstream's file: sections are regular expressions that are tried in order at the beginning of a
property's name, the first one counts; below each are `create`, `read`, `update`, `delete` with names of
roles, `@` for everyone or `!` for nobody; or, in the format `policies`, each with one rule of a policy.
What no section names nobody may do; administrators are no exception.
"""

import configparser
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from compute.access import Context
from compute.policy.enforcer import Rule
from runtime.errors import AtollError

OPERATIONS: Final = ("create", "read", "update", "delete")
EVERYONE: Final = "@"
NOBODY: Final = "!"
FORMATS: Final = ("roles", "policies")


class Section(NamedTuple):
    """Properties whose names match, and the words after each operation."""

    names: re.Pattern[str]
    words: Mapping[str, tuple[str, ...]]


class Protections:
    """What a file says. by_policy: words are rules, else roles."""

    def __init__(self, sections: list[Section], *, by_policy: bool) -> None:
        self._sections = sections
        self._by_policy = by_policy

    @property
    def rules(self) -> list[Rule]:
        """What the enforcer is to know for it."""
        if not self._by_policy:
            return []
        return [
            Rule(_rule(number, operation), _check(words[0]))
            for number, section in enumerate(self._sections)
            for operation, words in section.words.items()
        ]

    def allows(
        self, operation: str, name: str, context: Context, policy: Callable[[str], bool]
    ) -> bool:
        """policy: whether the caller passes a rule."""
        for number, section in enumerate(self._sections):
            if section.names.match(name):
                words = section.words.get(operation, (NOBODY,))
                if EVERYONE in words or NOBODY in words:
                    return EVERYONE in words
                if self._by_policy:
                    return policy(_rule(number, operation))
                return not {role.lower() for role in context.roles}.isdisjoint(words)
        return False


def _rule(number: int, operation: str) -> str:
    return f"protected property {number} {operation}"


def _check(word: str) -> str:
    """A rule's name, or a check as policy files have them."""
    if word in (EVERYONE, NOBODY):
        return word
    return word if ":" in word else f"rule:{word}"


def load(path: str, form: str) -> Protections:
    """Read the file. Raises AtollError with what is wrong in it."""
    parser = configparser.RawConfigParser(default_section="")
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise AtollError(f"image_property_protection_file {path}: {error}") from error
    by_policy = form == "policies"
    sections = [_section(path, name, parser[name], by_policy=by_policy) for name in parser.sections()]
    return Protections(sections, by_policy=by_policy)


def _section(path: str, name: str, said: Mapping[str, str], *, by_policy: bool) -> Section:
    def wrong(what: str) -> AtollError:
        return AtollError(f"image_property_protection_file {path}: [{name}] {what}")

    try:
        names = re.compile(name)
    except re.error as error:
        raise wrong(f"is no regular expression: {error}") from error
    words = {}
    for operation, text in said.items():
        if operation not in OPERATIONS:
            raise wrong(f"{operation} is none of {', '.join(OPERATIONS)}")
        found = tuple(word.strip() for word in text.split(",") if word.strip())
        if not by_policy:
            found = tuple(word.lower() for word in found)
        if len(found) > 1 and by_policy:
            raise wrong(f"{operation}: one rule of the policy is expected")
        if EVERYONE in found and NOBODY in found:
            raise wrong(f"{operation}: '@' and '!' are mutually exclusive")
        words[operation] = found or (NOBODY,)
    return Section(names, words)
