"""The authorizer's function."""

from __future__ import annotations

from ordering.clock import Deadline
from ordering.contexts import own_errors
from ordering.entry import wiring
from ordering.identity.authorizer import Authorizer, Handler, make_handler
from ordering.identity.services import IdentityServices
from ordering.identity.verifier import KeyRing, Verifier

KEYS_WITHIN = 3.0
"""Seconds that reading the signing keys may take."""


def authorizer_from_environment() -> Handler:
    """Return the authorizer's handler, for the accounts table and the settings in the function's environment."""
    connections = wiring.open_connections()
    services = IdentityServices(connections)
    keys = KeyRing(lambda: services.accounts(Deadline.after(KEYS_WITHIN)).signing_keys())
    verifier = Verifier(keys, issuer=services.issuer, audience=services.audience)
    authorizer = Authorizer(
        verifier, services.accounts, services.reference_tokens, own_errors(), services.shared_usage_key
    )
    wiring.prime(connections, "ACCOUNTS_TABLE", "TOKEN#")
    return wiring.initialised(make_handler(authorizer))
