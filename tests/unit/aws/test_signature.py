"""Signatures: those of botocore, for any request."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as KeyOfBotocore
from hypothesis import given
from hypothesis import strategies as st

from ordering.aws.signature import AwsCredentials, CallSigner

MOMENT = datetime(2026, 11, 29, 23, 59, 58, tzinfo=UTC)

words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
headers = st.dictionaries(st.from_regex(r"x-[a-z0-9-]{1,10}", fullmatch=True), words, max_size=4)
paths = st.from_regex(r"/(?:[A-Za-z0-9._~-]{1,8}/?){0,3}", fullmatch=True).filter(lambda path: "/." not in path)


def by_botocore(key: AwsCredentials, service: str, region: str, path: str, fields: dict[str, str], body: bytes) -> str:
    request = AWSRequest("POST", f"https://{fields['host']}{path}", fields, body)
    signer = SigV4Auth(KeyOfBotocore(key.key_id, key.secret, key.token or None), service, region)
    with patch("botocore.auth.get_current_datetime", lambda: MOMENT.replace(tzinfo=None)):
        signer.add_auth(request)
    signature: str = request.headers["Authorization"]
    return signature


@given(
    key=st.builds(AwsCredentials, words, words, st.just("") | words),
    service=st.sampled_from(["dynamodb", "sqs", "events", "kms", "ses"]),
    region=st.sampled_from(["eu-west-1", "cn-north-1", "us-gov-west-1"]),
    path=paths,
    more=headers,
    body=st.binary(max_size=100),
)
def test_as_botocore_signs(
    key: AwsCredentials, service: str, region: str, path: str, more: dict[str, str], body: bytes
) -> None:
    """A request has the signature that botocore gives it."""
    fields = {"host": "example.com:8000", "content-type": "application/x-amz-json-1.0", **more}

    signed = CallSigner(service, region).sign(key, MOMENT.timestamp(), path, fields, body)

    assert signed["authorization"] == by_botocore(key, service, region, path, fields, body)
    assert signed.get("x-amz-security-token", "") == key.token
    assert signed["x-amz-date"] == "20261129T235958Z"


def test_the_key_of_a_day_is_derived_anew() -> None:
    """A signer that is kept signs as a new one on the next day, and with other credentials."""
    kept, fields = CallSigner("dynamodb", "eu-west-1"), {"host": "example.com"}
    for seconds, secret in ((0, "a"), (86_400, "a"), (86_400, "b"), (0, "a")):
        key, at = AwsCredentials("k", secret), MOMENT.timestamp() + seconds
        new = CallSigner("dynamodb", "eu-west-1")

        assert kept.sign(key, at, "/", fields, b"") == new.sign(key, at, "/", fields, b"")


def test_credentials_do_not_show() -> None:
    """The representation of credentials has neither the secret nor the token."""
    shown = repr(AwsCredentials("an-id", "a-secret", "a-token"))

    assert "a-secret" not in shown
    assert "a-token" not in shown
