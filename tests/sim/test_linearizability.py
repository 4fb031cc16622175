"""The checker itself: planted violations are found, and histories made by a register are accepted."""

import random

import pytest

from tests.sim.linearizability import FOREVER, Operation, State, after, linearizable

A, B = State("a"), State("b")


def put(begin: int, end: float, data: str, outcome: str = "ok") -> Operation:
    return Operation(begin, end, "put", outcome, data)


def read(begin: int, end: float, seen: State | None) -> Operation:
    return Operation(begin, end, "read", seen=seen)


GOOD = {
    "nothing": [],
    "read of nothing": [read(1, 2, None)],
    "write then read": [put(1, 2, "a"), read(3, 4, A)],
    "read during write, old": [put(1, 4, "a"), read(2, 3, None)],
    "read during write, new": [put(1, 4, "a"), read(2, 3, A)],
    "two writes at once": [put(1, 4, "a"), put(2, 5, "b"), read(6, 7, A)],
    "unknown write seen late": [put(1, FOREVER, "a", "unknown"), read(3, 4, None), read(5, 6, A)],
    "unknown write never seen": [put(1, FOREVER, "a", "unknown"), read(3, 4, None)],
    "unknown write explains a refusal": [
        put(1, FOREVER, "a", "unknown"),
        Operation(2, 3, "create", "refused", "b"),
    ],
    "unknown delete": [
        put(1, 2, "a"),
        Operation(3, FOREVER, "delete", "unknown"),
        read(4, 5, A),
        read(6, 7, None),
    ],
    "create, replace": [
        Operation(1, 2, "create", data="a"),
        Operation(3, 4, "replace", data="b", expected="a"),
        read(5, 6, B),
    ],
    "replace of nothing": [Operation(1, 2, "replace", "absent", "b", expected="a")],
    "take": [put(1, 2, "a"), Operation(3, 4, "take", seen=A), read(5, 6, None)],
    "post": [put(1, 2, "a"), Operation(3, 4, "post", meta="m"), read(5, 6, State("a", "m"))],
}

BAD = {
    "read of what nobody wrote": [read(1, 2, A)],
    "lost write": [put(1, 2, "a"), read(3, 4, None)],
    "new then old": [put(1, 9, "a"), read(2, 3, A), read(4, 5, None)],
    "unknown write seen and gone": [
        put(1, FOREVER, "a", "unknown"),
        read(3, 4, A),
        read(5, 6, None),
    ],
    "seen before it began": [read(1, 2, A), put(3, 4, "a")],
    "both creates won": [
        Operation(1, 4, "create", data="a"),
        Operation(2, 3, "create", data="b"),
    ],
    "refused although it held": [
        put(1, 2, "a"),
        Operation(3, 4, "replace", "refused", "b", expected="a"),
    ],
    "an old value came back": [put(1, 2, "a"), put(3, 4, "b"), read(5, 6, A)],
    "a deleted value came back": [
        put(1, 2, "a"),
        Operation(3, 4, "delete"),
        read(5, 6, None),
        read(7, 8, A),
    ],
    "lost metadata": [put(1, 2, "a"), Operation(3, 4, "post", meta="m"), read(5, 6, A)],
    "taken twice": [
        put(1, 2, "a"),
        Operation(3, 6, "take", seen=A),
        Operation(4, 5, "take", seen=A),
    ],
    "absent although written": [put(1, 2, "a"), Operation(3, 4, "post", "absent", meta="m")],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_good(history: list[Operation]) -> None:
    assert linearizable(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD.keys())
def test_bad(history: list[Operation]) -> None:
    assert not linearizable(history)


KINDS = ["put", "create", "replace", "delete", "take", "post", "read", "read"]


def register_history(rng: random.Random, length: int) -> list[Operation]:
    """What clients of a correct register see: each operation takes effect at one moment within it.

    Those with unknown outcomes do so perhaps after their client gave up, or never.
    """
    held: State | None = None
    moments: list[tuple[float, float, float]] = []
    for number in range(length):
        at = number + 1.0
        moments.append((at - rng.uniform(0, 2), at, at + rng.uniform(0, 2)))
    times = sorted(t for begin, _, end in moments for t in (begin, end))
    history = []
    for number, (begin, _, end) in enumerate(moments):
        kind = rng.choice(KINDS)
        unknown = kind != "read" and rng.random() < 0.15
        asked = Operation(
            times.index(begin),
            FOREVER if unknown else times.index(end),
            kind,
            "unknown" if unknown else "ok",
            f"v{number}" if kind in {"put", "create", "replace"} else "",
            f"m{number}" if kind == "post" else "",
            held.data if kind == "replace" and held and rng.random() < 0.7 else "other",
            held if kind in {"read", "take"} else None,
        )
        if unknown and rng.random() < 0.5:
            history.append(asked)
            continue
        outcomes = (asked.outcome,) if unknown else ("ok", "refused", "absent")
        answered = next(op for o in outcomes if after(op := asked._replace(outcome=o), held))
        history.append(answered)
        held = after(answered, held)[0]
    return history


@pytest.mark.parametrize("seed", range(30))
def test_a_correct_register(seed: int) -> None:
    assert linearizable(register_history(random.Random(seed), 120))


@pytest.mark.parametrize("seed", range(30))
def test_a_planted_violation(seed: int) -> None:
    """A read that tells what was replaced before it began."""
    rng = random.Random(seed)
    history = register_history(rng, 60)
    last = max(op.begin for op in history) + 1000
    stale = State("v-stale")
    history += [
        put(last, last + 1, stale.data),
        put(last + 2, last + 3, "v-new"),
        read(last + 4, last + 5, State("v-new")),
        read(last + 6, last + 7, stale),
    ]
    assert not linearizable(history)
