"""The table of calls: complete, without a number or name that stands for two things."""

import msgspec
import pytest

from storage.node import NodeFacts, Progress
from storage.types import BlobName, Failed, Fault
from storage.wire import messages
from storage.wire.messages import CALLS, Call, Invalid, answer_decoder, encode, request_decoder


def test_numbers_and_names_are_unique() -> None:
    assert len({call.kind for call in CALLS}) == len(CALLS)
    assert len({call.name for call in CALLS}) == len(CALLS)
    assert all(0 < call.kind < 0x80 for call in CALLS)


def test_every_message_type_is_in_the_table() -> None:
    types = {
        value
        for value in vars(messages).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
        if value.__module__ == messages.__name__ and value not in {Call, Invalid}
    }
    table = {t for call in CALLS if call.name != "row" for t in (call.request, call.answer)}
    assert types == table - {NodeFacts, Progress}


def test_tags_are_unique() -> None:
    infos = [
        value.__struct_config__
        for value in vars(messages).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not Call
    ]
    tags = [info.tag for info in infos if info.tag is not None]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_call_may_fail(call: Call) -> None:
    decode = answer_decoder(call).decode
    assert decode(encode(Failed(Fault.FULL, "why"))) == Failed(Fault.FULL, "why")
    assert decode(encode(Invalid("why"))) == Invalid("why")


def test_a_request_of_another_type_is_refused() -> None:
    head = encode((7, messages.DeleteBlob(BlobName(bytes(16), 0))))
    assert request_decoder(messages.DELETE_BLOB).decode(head)[0] == 7
    with pytest.raises(msgspec.DecodeError):
        request_decoder(messages.LIST_BLOBS).decode(head)
