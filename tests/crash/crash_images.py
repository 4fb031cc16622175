"""The states of a disk that a power cut may leave, given what was done to it until then.

What is promised, and nothing more:

- Bytes and a truncation are there after the file's sync. Of each later write any part may be there,
  whatever became of the others: all of it, nothing, the sectors before any of its sectors, or all but
  some sectors, where there is then what was there before: behind the file's old end zeros, because its
  new size was written and the data were not.
- Names and directories are there after a sync of the directory that they stand in; a directory that is
  lost takes along what is in it. Each later creation, removal and rename happened or not, whatever
  became of the others, also of those before it.
- A rename is atomic, and durable with a sync of either directory.
- What LMDB commits is durable when its commit returns. Its file is a name like others.

What ext4 and XFS may leave (names change in the order of the calls, and the sync of any file settles
all changes of names before it) is among these states. Where there are few, `images` gives all of them;
else those that `_bounded` names.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from xxhash import xxh3_128_hexdigest

SECTOR_BYTES: Final = 512
DIRECTORY: Final = -1
"""Stands for an inode number where a name is a directory."""

INDEX_FILE: Final = "data.mdb"
"""The name of an index's one file in its directory."""

EXHAUSTIVE_MAX: Final = 64
"""Where a power cut may leave no more states than this, all of them are made."""

PAIRS_MAX: Final = 8
"""Of at most so many open events each two are lost together, and kept together."""

OPEN_MAX: Final = 40
"""Of more open events only the newest ones are lost or kept one by one: the device leaves a handful."""

SAMPLES: Final = 3
"""Random states where not all are made."""


class Event(NamedTuple):
    """One thing that was done.

    kind: append, truncate, sync (subject: inode); link, unlink, mkdir, sync_dir (subject: path);
    rename (subject: target, value: source, offset: inode); index (subject: inode, value: tables); ack.
    """

    kind: str
    subject: Any
    value: Any = None
    offset: int = 0


@dataclass(frozen=True)
class Image:
    """What is on a disk: files by path, directories, and the index's tables by its directory."""

    files: dict[str, bytes]
    directories: frozenset[str]
    index: dict[str, Any]

    def key(self) -> str:
        """Equal for equal images."""
        parts = [f"{path}:{xxh3_128_hexdigest(data)}" for path, data in sorted(self.files.items())]
        parts += [f"{path}={id(tables)}" for path, tables in sorted(self.index.items())]
        return xxh3_128_hexdigest("\n".join(parts + sorted(self.directories)).encode())


Fate = Event | None
"""What became of an event: itself, None where it was lost, or what a torn write left.

That is a shorter write or one of kind "holed" (value: what arrived, by its offset; offset: the end).
"""


class Crashes:
    """States after a power cut, told of the events one by one."""

    def __init__(self, start: Image, numbers: dict[str, int]) -> None:
        """numbers: inode numbers of the start's files and indexes, by path."""
        self._contents: dict[int, bytes] = {}
        self._tables: dict[int, Any] = {}
        self._names: dict[str, int] = dict.fromkeys(start.directories, DIRECTORY)
        for path, data in start.files.items():
            self._contents[numbers[path]] = data
            self._names[path] = numbers[path]
        for path, tables in start.index.items():
            self._tables[numbers[path]] = tables
            self._names[f"{path}/{INDEX_FILE}"] = numbers[path]
        self._writes: list[Event] = []
        self._names_done: list[tuple[Event, bool]] = []
        self._acknowledged: list[Any] = []

    def add(self, event: Event) -> None:
        """The next event."""
        match event.kind:
            case "ack":
                self._acknowledged.append(event.subject)
            case "append" | "truncate":
                self._writes.append(event)
            case "sync":
                self._sync(event.subject)
            case "index":
                self._tables[event.subject] = event.value
            case "sync_dir":
                self._names_done = [
                    (name, durable or event.subject in _directories(name))
                    for name, durable in self._names_done
                ]
                self._settle()
            case _:
                self._names_done.append((event, False))

    def _sync(self, inode: int) -> None:
        done = [event for event in self._writes if event.subject == inode]
        if done:
            self._contents[inode] = _written(self._contents.get(inode, b""), done)
            self._writes = [event for event in self._writes if event.subject != inode]

    def _settle(self) -> None:
        """Durable names before all that are open need no decision any more."""
        while self._names_done and self._names_done[0][1]:
            _rename(self._names_done.pop(0)[0], self._names)

    def acknowledged(self) -> list[Any]:
        """What had been acknowledged by then."""
        return self._acknowledged

    # -- states ----------------------------------------------------------------------------------

    @property
    def open(self) -> list[Event]:
        """What nobody knows whether it is durable: writes, then names, each in their order."""
        return [*self._writes, *(event for event, _ in self._open_names())]

    def _open_names(self) -> list[tuple[Event, int]]:
        """Open events of names that no later durable one makes void, with their place."""
        found: list[tuple[Event, int]] = []
        settled: set[str] = set()
        for place in range(len(self._names_done) - 1, -1, -1):
            event, durable = self._names_done[place]
            if durable:
                settled |= _paths(event)
            elif not _paths(event) <= settled:
                found.append((event, place))
        return found[::-1]

    def least(self) -> Image:
        """Only what is durable."""
        return self._build([None] * len(self.open))

    def most(self) -> Image:
        """All that was done."""
        return self._build(self.open)

    def some(self, rng: random.Random) -> Image:
        """A random state."""
        return self._build([random_fate(event, rng) for event in self.open])

    def images(self, rng: random.Random) -> Iterator[Image]:
        """All states where they are few, else the bounded choice."""
        choices = [fates(event) for event in self.open]
        every: Iterable[Sequence[Fate]]
        number = 1
        for choice in choices:
            number *= len(choice)
        every = itertools.product(*choices) if number <= EXHAUSTIVE_MAX else self._bounded(choices, rng)
        return map(self._build, every)

    def _bounded(self, choices: list[list[Fate]], rng: random.Random) -> Iterator[Sequence[Fate]]:
        """All kept, all lost; each one kept, each one lost, each two together; each way in which one
        write may be torn, the others kept and the others lost; names as far as each in order, all
        writes kept and all lost; and random ones."""
        kept = self.open
        lost: list[Fate] = [None] * len(kept)
        for base in (kept, lost):
            yield base
            for place, choice in list(enumerate(choices))[-OPEN_MAX:]:
                for fate in choice:
                    yield _with(base, {place: fate})
        if len(kept) <= PAIRS_MAX:
            for pair in itertools.combinations(range(len(kept)), 2):
                yield _with(kept, dict.fromkeys(pair))
                yield _with(lost, {place: kept[place] for place in pair})
        writes = len(self._writes)
        for upto in range(max(writes, len(kept) - OPEN_MAX), len(kept)):
            yield [*kept[:upto], *lost[upto:]]
            yield [*lost[:writes], *kept[writes:upto], *lost[upto:]]
        for _ in range(SAMPLES):
            yield [random_fate(event, rng) for event in kept]

    def _build(self, fates: Sequence[Fate]) -> Image:
        written = self._writes
        contents = dict(self._contents)
        for inode in {event.subject for event in written}:
            done = [
                fate for fate in fates[: len(written)] if fate is not None and fate.subject == inode
            ]
            contents[inode] = _written(contents.get(inode, b""), done)
        happened = {
            place
            for (_, place), fate in zip(self._open_names(), fates[len(written) :], strict=True)
            if fate is not None
        }
        names = dict(self._names)
        for place, (event, durable) in enumerate(self._names_done):
            if durable or place in happened:
                _rename(event, names)
        return self._image(names, contents)

    def _image(self, names: dict[str, int], contents: dict[int, bytes]) -> Image:
        reached: set[str] = set()
        files, index = {}, {}
        for path in sorted(names):  # a directory comes before what is in it
            above = path.rpartition("/")[0]
            if above and above not in reached:
                continue
            number = names[path]
            if number == DIRECTORY:
                reached.add(path)
            elif number in self._tables:
                index[above] = self._tables[number]
            else:
                files[path] = contents.get(number, b"")
        return Image(files, frozenset(reached), index)


def fates(event: Event) -> list[Fate]:
    """All that may become of one event."""
    if event.kind != "append":
        return [event, None]
    return [event, None, *_torn(event)]


def _torn(event: Event) -> Iterator[Event]:
    """Cut off at each sector; each sector missing; all of them missing."""
    data, bounds = event.value, _bounds(event)
    for bound in bounds[1:-1]:
        yield event._replace(value=data[:bound])
    if len(bounds) > 2:
        for begin, end in _sectors(event):
            yield _holed(event, [sector for sector in _sectors(event) if sector != (begin, end)])
    if data:
        yield _holed(event, [])


def _bounds(event: Event) -> list[int]:
    """Where the sectors of a write begin, and its end."""
    length = len(event.value)
    return [0, *range(SECTOR_BYTES - event.offset % SECTOR_BYTES, length, SECTOR_BYTES), length]


def _sectors(event: Event) -> list[tuple[int, int]]:
    """The sectors of a write, as parts of its data."""
    return list(itertools.pairwise(_bounds(event)))


def _holed(event: Event, arrived: Iterable[tuple[int, int]]) -> Event:
    """A write of which some sectors arrived."""
    pieces = tuple((event.offset + begin, event.value[begin:end]) for begin, end in arrived)
    return Event("holed", event.subject, pieces, event.offset + len(event.value))


def random_fate(event: Event, rng: random.Random) -> Fate:
    """Kept, lost, cut off at any byte, or with holes."""
    if rng.random() < 0.3:
        return None
    if event.kind != "append" or rng.random() < 0.3:
        return event
    if rng.random() < 0.5:
        return event._replace(value=event.value[: rng.randrange(len(event.value) + 1)])
    return _holed(event, [sector for sector in _sectors(event) if rng.random() < 0.6])


def _with(base: Sequence[Fate], other: dict[int, Fate]) -> list[Fate]:
    return [other.get(place, fate) for place, fate in enumerate(base)]


def _written(content: bytes, events: Sequence[Event]) -> bytes:
    """A file's bytes after some writes and truncations."""
    data = bytearray(content)
    for event in events:
        if event.kind == "truncate":
            del data[event.value :]
            continue
        pieces = event.value if event.kind == "holed" else ((event.offset, event.value),)
        end = event.offset if event.kind == "holed" else event.offset + len(event.value)
        data.extend(bytes(max(0, end - len(data))))
        for offset, piece in pieces:
            data[offset : offset + len(piece)] = piece
    return bytes(data)


def _paths(event: Event) -> set[str]:
    """The names that an event decides."""
    return {event.subject, event.value} if event.kind == "rename" else {event.subject}


def _directories(event: Event) -> set[str]:
    """The directories whose sync makes an event of names durable."""
    return {path.rpartition("/")[0] for path in _paths(event)}


def _rename(event: Event, names: dict[str, int]) -> None:
    """Let an event of names happen."""
    match event.kind:
        case "link":
            names[event.subject] = event.value
        case "mkdir":
            names[event.subject] = DIRECTORY
        case "unlink":
            names.pop(event.subject, None)
        case "rename":
            target, source, inode = event.subject, event.value, event.offset
            inside = [path for path in names if path.startswith(f"{source}/")]
            for path in inside if inode == DIRECTORY else []:
                names[target + path[len(source) :]] = names.pop(path)
            names.pop(source, None)
            names[target] = inode
