"""The life of an order on the stack that CloudFormation deployed: each part of it is a resource of the stack."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.ecard_helpers import Company
from ordering_tools.local.engine.engine import connect
from ordering_tools.stacks import read_stack
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway


def test_an_order_on_the_stack(real: RealStack, companies: Callable[[int], Company]) -> None:
    """A key of the stack signs the token that an order is placed with; the order completes in the stack's table."""
    stack, company = read_stack(real.services), companies(1_000)
    company.load(1)
    order = company.made()
    company.wait(order, "Delivered")
    signed, _, signature = company.http.headers["Authorization"].removeprefix("Bearer ").rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    verified = connect("kms", real.services).verify(
        KeyId=stack.outputs["SigningKeyA"],
        Message=signed.encode(),
        Signature=encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])),
        SigningAlgorithm="ECDSA_SHA_256",
    )
    key = {"pk": {"S": f"ORDER#ecards#{company.id}#{order['id']}"}, "sk": {"S": "ORDER"}}
    found = connect("dynamodb", real.stack.endpoint).get_item(TableName=stack.outputs["OrdersTable"], Key=key)

    assert verified["SignatureValid"]
    assert "Item" in found
    assert company.history(order)[-1] == "Delivered"
