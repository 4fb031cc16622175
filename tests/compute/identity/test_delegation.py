"""Secrets that act for a user: application credentials, trusts, EC2 keys, TOTP, OAuth1."""

import asyncio
import base64
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import parse_qs

import pytest

from compute.identity import oauth1
from compute.identity.ec2 import ec2_signature, signature_fits, v4_key
from compute.identity.tokens.methods import totp
from tests.compute.identity.cloud import Cloud


async def _member(cloud: Cloud) -> tuple[dict[str, Any], dict[str, Any], str]:
    project = await cloud.make("project")
    user = await cloud.user("member", project=project["id"])
    return project, user, await cloud.token_of(user, {"project": {"id": project["id"]}})


async def test_application_credentials_have_what_they_were_given(cloud: Cloud) -> None:
    project, user, token = await _member(cloud)
    path = f"/users/{user['id']}/application_credentials"
    rule = {"service": "object-store", "method": "GET", "path": "/v1/**"}
    body = {"name": "app", "roles": [{"name": "reader"}], "access_rules": [rule]}
    made = await cloud.ok("POST", path, {"application_credential": body}, token=token)
    app = made["application_credential"]
    reply = await cloud.log_in(application_credential={"id": app["id"], "secret": app["secret"]})
    assert reply.status == 201
    assert [role["name"] for role in reply["token"]["roles"]] == ["reader"]
    assert reply["token"]["project"]["id"] == project["id"]
    own = reply.headers["X-Subject-Token"]
    assert (
        await cloud.validate(own)
    ).status == 404  # whoever does not enforce its rules must not take it
    enforcing = {"OpenStack_Identity_Access_Rules": "1.0"}
    shown = await cloud.call("GET", "/auth/tokens", X_Subject_Token=own, **enforcing)
    told = shown["token"]["application_credential"]["access_rules"][0]
    assert {name: told[name] for name in rule} == rule
    more = await cloud.call("POST", path, {"application_credential": {"name": "more"}}, token=own)
    assert more.status == 401
    rules = (await cloud.ok("GET", f"/users/{user['id']}/access_rules", token=token))["access_rules"]
    in_use = f"/users/{user['id']}/access_rules/{rules[0]['id']}"
    assert (await cloud.call("DELETE", in_use, token=token)).status == 403
    await cloud.ok("DELETE", f"{path}/{app['id']}", token=token)
    again = await cloud.call("GET", "/auth/tokens", X_Subject_Token=own, **enforcing)
    assert again.status == 404
    wrong = await cloud.log_in(application_credential={"id": app["id"], "secret": app["secret"]})
    assert wrong.status == 401


async def test_an_application_credential_has_no_role_that_its_user_has_not(cloud: Cloud) -> None:
    _, user, token = await _member(cloud)
    body = {"application_credential": {"name": "app", "roles": [{"name": "admin"}]}}
    path = f"/users/{user['id']}/application_credentials"
    assert (await cloud.call("POST", path, body, token=token)).status == 400
    assert (await cloud.ok("GET", path, token=token))["application_credentials"] == []


async def _trust(
    cloud: Cloud, **more: Any
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]:
    project, trustor, token = await _member(cloud)
    trustee = await cloud.user()
    body = {
        "trustor_user_id": trustor["id"],
        "trustee_user_id": trustee["id"],
        "project_id": project["id"],
        "impersonation": True,
        "roles": [{"name": "reader"}],
        **more,
    }
    made = await cloud.ok("POST", "/OS-TRUST/trusts", {"trust": body}, token=token)
    return made["trust"], trustor, trustee, token


async def test_a_trust_lets_its_trustee_act(cloud: Cloud) -> None:
    trust, trustor, trustee, token = await _trust(cloud)
    acting = await cloud.token_of(trustee, {"OS-TRUST:trust": {"id": trust["id"]}})
    shown = (await cloud.validate(acting))["token"]
    assert shown["user"]["id"] == trustor["id"]
    assert [role["name"] for role in shown["roles"]] == ["reader"]
    assert shown["OS-TRUST:trust"]["trustee_user"]["id"] == trustee["id"]
    rescoped = await cloud.log_in({"project": {"id": trust["project_id"]}}, token={"id": acting})
    assert rescoped.status == 403
    await cloud.ok("DELETE", f"/OS-TRUST/trusts/{trust['id']}", token=token)
    assert (await cloud.validate(acting)).status == 404


async def test_a_trust_is_used_no_more_often_than_allowed(cloud: Cloud) -> None:
    trust, _, trustee, _ = await _trust(cloud, remaining_uses=3)
    scope = {"OS-TRUST:trust": {"id": trust["id"]}}
    named = {"user": {"id": trustee["id"], "password": trustee["password"]}}
    replies = await asyncio.gather(*(cloud.log_in(scope, password=named) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [201] * 3 + [404] * 5


async def test_ec2_keys_sign_for_their_project(cloud: Cloud) -> None:
    project, user, token = await _member(cloud)
    path = f"/users/{user['id']}/credentials/OS-EC2"
    keys = (await cloud.ok("POST", path, {"tenant_id": project["id"]}, token=token))["credential"]
    text = b"AWS4-HMAC-SHA256\n20260101T000000Z\n20260101/us-east-1/s3/aws4_request\n" + b"0" * 64
    key = v4_key(keys["secret"], "20260101", "us-east-1", "s3")
    fields = {
        "access": keys["access"],
        "token": base64.urlsafe_b64encode(text).decode(),
        "signature": hmac.digest(key, text, "sha256").hex(),
    }
    reply = await cloud.ok("POST", "/s3tokens", {"credentials": fields})
    assert reply["token"]["project"]["id"] == project["id"]
    assert reply["token"]["user"]["id"] == user["id"]
    wrong = {**fields, "signature": "0" * 64}
    assert (await cloud.call("POST", "/s3tokens", {"credentials": wrong})).status == 401
    assert (await cloud.call("POST", "/s3tokens", {"credentials": fields}, token=token)).status == 403
    assert (await cloud.call("POST", "/s3tokens", {"credentials": fields}, token="")).status == 401
    request = {
        "access": keys["access"],
        "host": "h:1",
        "verb": "GET",
        "path": "/",
        "params": {"SignatureVersion": "2", "SignatureMethod": "HmacSHA256", "Action": "List"},
    }
    request["signature"] = ec2_signature(keys["secret"], request)
    assert (await cloud.ok("POST", "/ec2tokens", {"credentials": request}))["token"]
    await cloud.ok("DELETE", f"{path}/{keys['access']}", token=token)
    assert (await cloud.call("POST", "/s3tokens", {"credentials": fields})).status == 401


def test_amazons_own_examples() -> None:
    """AWS's documentation, "Examples of how to derive a signing key", and S3's REST authentication."""
    key = v4_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1", "iam")
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
    text = b"GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg"
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert signature_fits(secret, text, "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=")
    assert not signature_fits(secret, text + b"x", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=")


@pytest.mark.parametrize(
    ("at_s", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")]
)
def test_the_codes_of_rfc_6238(at_s: int, code: str) -> None:
    seed = base64.b32encode(b"12345678901234567890").decode()
    assert totp(seed, at_s // 30) == code


async def test_a_one_time_password_is_used_once(cloud: Cloud) -> None:
    user = await cloud.user()
    seed = base64.b32encode(b"a seed of 20 letters").decode().rstrip("=")
    body = {"type": "totp", "blob": seed, "user_id": user["id"]}
    await cloud.ok("POST", "/credentials", {"credential": body})
    now_s = cloud.clock.now_ns() // 1_000_000_000
    given = {"user": {"id": user["id"], "passcode": totp(seed, now_s // 30)}}
    replies = [(await cloud.log_in(totp=given)).status for _ in range(2)]
    assert replies == [201, 401]
    await cloud.ok(
        "PATCH",
        f"/users/{user['id']}",
        {
            "user": {
                "options": {
                    "multi_factor_auth_enabled": True,
                    "multi_factor_auth_rules": [["password", "totp"]],
                }
            }
        },
    )
    named = {"user": {"id": user["id"], "password": user["password"]}}
    assert (await cloud.log_in(password=named)).status == 401
    cloud.clock.ahead_s += 31
    given["user"]["passcode"] = totp(seed, cloud.clock.now_ns() // 1_000_000_000 // 30)
    assert (await cloud.log_in(password=named, totp=given)).status == 201


def test_the_signature_of_rfc_5849() -> None:
    """RFC 5849, 1.2: the client asks for the photo."""
    given = {
        "oauth_consumer_key": "dpf43f3p2l4k3l03",
        "oauth_token": "nnch734d00sl2jdk",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": "137131202",
        "oauth_nonce": "chapoH",
    }
    url = "http://photos.example.net/photos?file=vacation.jpg&size=original"
    text = oauth1.base_string("GET", url, list(given.items()))
    right = oauth1.signature(text, "kd94hf93k423kf44", "pfkkdhi9sl3r4s00")
    assert right == "MdpQcU8iPSUjWoN/UDMsK2sui9I="


def _signed(method: str, url: str, consumer: dict[str, Any], secret: str = "", **more: str) -> str:
    given = {
        "oauth_consumer_key": consumer["id"],
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(int(time.time())),
        "oauth_nonce": hashlib.sha256(repr((url, more, time.monotonic())).encode()).hexdigest()[:16],
        **{f"oauth_{name}": value for name, value in more.items()},
    }
    text = oauth1.base_string(method, url, list(given.items()))
    given["oauth_signature"] = oauth1.signature(text, consumer["secret"], secret)
    return "OAuth " + ", ".join(f'{k}="{oauth1.encoded(v)}"' for k, v in given.items())


async def test_oauth1_from_consumer_to_token(cloud: Cloud) -> None:
    project = await cloud.make("project")
    user = await cloud.user("admin", project=project["id"])
    token = await cloud.token_of(user, {"project": {"id": project["id"]}})
    consumer = (await cloud.ok("POST", "/OS-OAUTH1/consumers", {"consumer": {}}))["consumer"]
    url = f"{cloud.url}/v3/OS-OAUTH1/request_token"
    header = _signed("POST", url, consumer, callback="oob")
    reply = await cloud.ok(
        "POST", url, token="", Authorization=header, Requested_Project_Id=project["id"]
    )
    again = await cloud.call(
        "POST", url, token="", Authorization=header, Requested_Project_Id=project["id"]
    )
    assert again.status == 401  # a nonce is used once
    asked = {k: v[0] for k, v in parse_qs(reply.body.decode()).items()}
    body = {"roles": [{"name": "reader"}]}
    path = f"/OS-OAUTH1/authorize/{asked['oauth_token']}"
    verifier = (await cloud.ok("PUT", path, body, token=token))["token"]["oauth_verifier"]
    url = f"{cloud.url}/v3/OS-OAUTH1/access_token"
    more = {"token": asked["oauth_token"], "verifier": verifier}
    header = _signed("POST", url, consumer, asked["oauth_token_secret"], **more)
    reply = await cloud.ok("POST", url, token="", Authorization=header)
    access = {k: v[0] for k, v in parse_qs(reply.body.decode()).items()}
    url = f"{cloud.url}/v3/auth/tokens"
    header = _signed("POST", url, consumer, access["oauth_token_secret"], token=access["oauth_token"])
    auth = {"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}
    reply = await cloud.call("POST", url, auth, token="", Authorization=header)
    assert reply.status == 201, reply
    assert [role["name"] for role in reply["token"]["roles"]] == ["reader"]
    assert reply["token"]["project"]["id"] == project["id"]
    own = reply.headers["X-Subject-Token"]
    tokens = f"/users/{user['id']}/OS-OAUTH1/access_tokens/{access['oauth_token']}"
    await cloud.ok("DELETE", tokens, token=token)
    assert (await cloud.validate(own)).status == 404
