"""Whether a backend is what a volume type's extra specs ask for. Pure.

As upstream's scheduler has it: keys are names of capabilities, bare or after `capabilities:`; those in
any other scope are for others. A value is text to be equal to, or begins with an operator:
`<is>` a truth value, `<in>` contained, `<all-in>`, `<or>` alternatives, `=` at least, `==`, `!=`, `<`,
`<=`, `>`, `>=` numbers, `s==`, `s!=`, `s<`, `s<=`, `s>`, `s>=` texts.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

SCOPE: Final = "capabilities"
TRUE: Final = frozenset({"1", "t", "true", "on", "y", "yes"})

_NUMBERS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


def is_true(value: Any) -> bool:
    """As clients write truth."""
    return str(value).strip().lower() in TRUE


def fits(extra_specs: Mapping[str, str], capabilities: Mapping[str, Any]) -> bool:
    """Whether a backend with these capabilities has all that is asked for."""
    return all(
        name is None or _has(capabilities, name, wanted)
        for name, wanted in ((_capability(key), value) for key, value in extra_specs.items())
    )


def _capability(key: str) -> str | None:
    scope, colon, rest = key.partition(":")
    if not colon:
        return key
    return rest if scope == SCOPE else None


def _has(capabilities: Mapping[str, Any], name: str, wanted: str) -> bool:
    found: Any = capabilities
    for part in name.split(":"):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    values = found if isinstance(found, list | tuple) else [found]
    return any(_matches(value, wanted) for value in values)


def _matches(value: Any, wanted: str) -> bool:
    words = wanted.split()
    if not words:
        return str(value) == wanted
    sign, rest = words[0], words[1:]
    text = " ".join(rest)
    if sign in _NUMBERS:
        return _compared(_NUMBERS[sign], value, text)
    if sign in _TEXTS:
        return _TEXTS[sign](str(value), text)
    if sign == "<is>":
        return is_true(value) == is_true(text)
    if sign == "<in>":
        return text in str(value)
    if sign == "<all-in>":
        return all(word in str(value) for word in rest)
    if sign == "<or>":
        return str(value) in [word for word in rest if word != "<or>"]
    return str(value) == wanted


def _compared(compare: Callable[[float, float], bool], value: Any, text: str) -> bool:
    try:
        return compare(float(value), float(text))
    except (TypeError, ValueError):
        return False
