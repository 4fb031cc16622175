"""Our signatures against botocore's, which is another implementation of the same specification."""

from datetime import UTC, datetime

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from tools.bench.signing import Credentials, Signer, canonical_path, canonical_query

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-north-1")

PART_QUERY = canonical_query([("uploadId", "a/b+c="), ("partNumber", "7")])
LIST_QUERY = canonical_query([("list-type", "2"), ("start-after", "a b/é")])


def _botocore_signature(method: str, url: str) -> str:
    class Unsigned(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
        def payload(self, request: object) -> str:
            return "UNSIGNED-PAYLOAD"

    keys = botocore.credentials.Credentials(KEYS.access_key, KEYS.secret_key)
    request = botocore.awsrequest.AWSRequest(method, url, headers={"x-amz-date": ""})
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    del request.headers["x-amz-date"]
    signer = Unsigned(keys, "s3", KEYS.region)
    request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    request.headers["x-amz-date"] = request.context["timestamp"]
    request.headers["host"] = "store.example:8080"
    string = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(string, request))


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", canonical_path("bucket", "4k/00000001"), ""),
        ("PUT", canonical_path("bucket", "part"), PART_QUERY),
        ("GET", canonical_path("bucket"), LIST_QUERY),
        ("HEAD", "/", ""),
    ],
)
def test_signature_is_botocores(method: str, path: str, query: str) -> None:
    headers = Signer(KEYS, "store.example:8080", NOW).headers(method, path, query)
    url = f"http://store.example:8080{path}" + (f"?{query}" if query else "")
    assert headers["authorization"].endswith(f"Signature={_botocore_signature(method, url)}")


def test_head_is_the_request_on_the_wire() -> None:
    head = Signer(KEYS, "h:1", NOW).head("PUT", "/b/k", "a=1", 5)
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /b/k?a=1 HTTP/1.1"
    assert "content-length: 5" in lines
    assert lines[-2:] == ["", ""]


def test_a_secret_is_not_shown() -> None:
    assert KEYS.secret_key not in repr(KEYS)
