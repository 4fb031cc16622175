"""The checksums of a multipart object, made of its parts' and held against what the client promises."""

import base64
from collections.abc import Mapping, Sequence

from proxy.auth.checksums import (
    ChecksumAlgorithm,
    ChecksumType,
    PartDigest,
    composite_digest,
    full_object_digest,
    parse_digest,
    to_base64,
)
from proxy.core.contract import Combine
from proxy.core.errors import BadDigest
from proxy.core.types import PartHead
from proxy.s3.errors import S3Error


def promised_checksums(amz: Mapping[str, str]) -> dict[ChecksumAlgorithm, str]:
    """The object's checksums that a complete request names. Raises InvalidChecksum.

    A composite one ends in the number of parts, which S3 takes with or without.
    """
    promised = {}
    for algorithm in ChecksumAlgorithm:
        if (text := amz.get(algorithm.header)) is not None:
            parse_digest(algorithm, text.partition("-")[0])
            promised[algorithm] = text
    return promised


def combination(
    algorithm_name: str, type_name: str, promised: Mapping[ChecksumAlgorithm, str]
) -> Combine:
    """What makes the object's checksums of its parts'.

    algorithm_name, type_name: of the upload, "" where it was begun without. The function raises
    BadDigest where a promise is not kept, S3Error InvalidRequest where it cannot be examined.
    """
    algorithm = ChecksumAlgorithm(algorithm_name) if algorithm_name else None
    kind = ChecksumType(type_name) if type_name else None

    def combine(parts: Sequence[PartHead]) -> dict[str, str]:
        checksums = {}
        if algorithm is not None and (value := combined(algorithm, kind, parts)) is not None:
            checksums[algorithm.value] = value
        for wanted, text in promised.items():
            value = checksums.get(wanted.value)
            if value is None and algorithm is None:
                value = combined(wanted, ChecksumType.FULL_OBJECT, parts)
            _check_promise(wanted, text, value)
        return checksums

    return combine


def combined(
    algorithm: ChecksumAlgorithm, kind: ChecksumType | None, parts: Sequence[PartHead]
) -> str | None:
    """The object's checksum as headers spell it; None where a part lacks its own, or it is no CRC of
    which a whole object's could be made."""
    digests = []
    for part in parts:
        if (text := part.checksums.get(algorithm.value)) is None:
            return None
        digests.append(PartDigest(base64.b64decode(text), part.size_bytes))
    if kind is not ChecksumType.FULL_OBJECT:
        return composite_digest(algorithm, digests)
    return to_base64(full_object_digest(algorithm, digests)) if algorithm.is_crc else None


def _check_promise(algorithm: ChecksumAlgorithm, promised: str, value: str | None) -> None:
    if value is None:
        message = f"The upload's parts have no checksums that give a {algorithm.value} of the object."
        raise S3Error("InvalidRequest", message)
    if promised != value and promised != value.partition("-")[0]:
        raise BadDigest(algorithm.value)
