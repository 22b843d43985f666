"""Value types: what `repr` leaves out."""

from __future__ import annotations

from ordering.aws.ses import Letter
from ordering.ecards.certificates import Certificate
from ordering.ecards.orders import HandedCertificate
from ordering.training.access_keys import IssuedKey
from ordering.values import Value
from ordering.webhooks.registrations import SealedSecret, Webhook

DISCREET: list[type[Value]] = [Certificate, HandedCertificate, IssuedKey, Letter, SealedSecret, Webhook]


def test_discreet_types_leave_out_fields_that_they_have() -> None:
    """Each type with secrets or personal data names some of its fields as unprinted, and only its fields."""
    for kind in DISCREET:
        assert kind.unprinted
        assert kind.unprinted <= {*kind.__struct_fields__}


def test_unprinted_fields_are_not_in_the_repr() -> None:
    """The `repr` of a value has its fields with their values, except the unprinted ones."""

    class Card(Value):
        unprinted = frozenset({"code"})

        id: int
        code: str

    assert repr(Card(1, "SECRET")).endswith("Card(id=1)")
    assert repr(IssuedKey(1, 2, "SECRET")) == "IssuedKey(line=1, seat=2)"
