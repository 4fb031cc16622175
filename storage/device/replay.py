"""What a segment's bytes say after a crash: its records, where its sound part ends, and whether more
than an unfinished write is missing. Pure: bytes in, findings out.

Each group commit begins with a BATCH record that names the position up to which all was durable before
it. A bad record behind the last such mark is an unfinished write, never acknowledged: it and all that
follows is cut off. One before such a mark, or in a segment that has a successor, was acknowledged once:
that is damage, and a replica that has forgotten what it acknowledged must not vote.
"""

from collections.abc import Iterator
from typing import NamedTuple

from storage.device.record import (
    MAGIC,
    POSITION,
    SEGMENT_HEADER_BYTES,
    Kind,
    Position,
    Record,
    parse,
    payload_is_sound,
    segment_format,
)


class SegmentFindings(NamedTuple):
    """records: sound heads up to `end`, BATCH records left out. end: offset where the sound part ends.

    damaged: offset of the first bad record head that was acknowledged, or None.
    bad_payloads: how many of the records, acknowledged ones, have a payload that fails its checksum.
    """

    records: list[Record]
    end: int
    damaged: int | None
    bad_payloads: int


def read_segment(
    view: memoryview, number: int, offset: int, seed_base: int, *, has_successor: bool
) -> SegmentFindings:
    """Read the records of segment `number` from `offset`; see the module for the rules."""
    seed = seed_base ^ (number << 32)
    offset = max(offset, SEGMENT_HEADER_BYTES)
    found = list(_walk(view, offset, seed))
    stop = found[-1].end if found else offset
    proven = len(view) if has_successor else _proven(found, number)
    damaged = None
    if stop < len(view) or stop < proven:
        later = _marks_after(view, stop, seed)
        if has_successor or _proven(later, number) > stop:
            damaged = stop
            proven = stop
    bad = [record for record in found if not payload_is_sound(view, record)]
    end = next((record.start for record in bad if record.start >= proven), stop)
    return SegmentFindings(
        [record for record in found if record.kind != Kind.BATCH and record.start < end],
        end,
        damaged,
        sum(record.start < end for record in bad),
    )


def _walk(view: memoryview, offset: int, seed: int) -> Iterator[Record]:
    while (record := parse(view, offset, seed)) is not None:
        yield record
        offset = record.end


def _proven(records: list[Record], number: int) -> int:
    """Offset in this segment up to which BATCH records prove durability."""
    marks = (Position(*POSITION.unpack(r.head)) for r in records if r.kind == Kind.BATCH)
    return max((mark.offset for mark in marks if mark.segment == number), default=0)


def _marks_after(view: memoryview, offset: int, seed: int) -> list[Record]:
    """BATCH records behind a bad one, found by their magic."""
    data = bytes(view[offset:])
    needle = MAGIC + bytes([Kind.BATCH])
    found = []
    at = data.find(needle)
    while at >= 0:
        if (record := parse(view, offset + at, seed)) is not None:
            found.append(record)
        at = data.find(needle, at + 1)
    return found


def header_format(view: memoryview) -> int | None:
    """The format that a segment's header names, None where it is damaged."""
    return segment_format(bytes(view[:SEGMENT_HEADER_BYTES]))
