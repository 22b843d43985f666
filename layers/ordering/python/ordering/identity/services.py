"""What the authorizer and the token endpoint use, over the connections of their process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ordering.aws.connections import Connections
from ordering.clock import Deadline
from ordering.identity.accounts import Accounts

if TYPE_CHECKING:
    from ordering.identity.reference_tokens import ReferenceTokens
    from ordering.identity.token_endpoint import KeyCache, TokenEndpoint


class IdentityServices:
    """Opens accounts and tokens for one request each; the cache outlives it.

    Args:
        cache: The cache of signing keys.
    """

    def __init__(self, connections: Connections, *, cache: KeyCache | None = None) -> None:
        self._connections = connections
        self._cache = cache

    @property
    def issuer(self) -> str:
        """The `iss` of tokens."""
        return self._connections.settings["TOKEN_ISSUER"]

    @property
    def audience(self) -> str:
        """The `aud` of tokens."""
        return self._connections.settings["TOKEN_AUDIENCE"]

    @property
    def shared_usage_key(self) -> str:
        """The value of the API key of calls that have no partner's."""
        return self._connections.settings["SHARED_USAGE"]

    def accounts(self, deadline: Deadline) -> Accounts:
        """Return the accounts."""
        return Accounts(self._connections.accounts(deadline))

    def reference_tokens(self, deadline: Deadline) -> ReferenceTokens:
        """Return the reference tokens."""
        from ordering.identity.reference_tokens import ReferenceTokens

        return ReferenceTokens(self._connections.accounts(deadline))

    def token_endpoint(self, deadline: Deadline) -> TokenEndpoint:
        """Return the token endpoint's domain."""
        from ordering.identity.clients import Clients
        from ordering.identity.token_endpoint import KeyCache, TokenEndpoint

        self._cache = self._cache or KeyCache()
        connections = self._connections
        clients = Clients(connections.accounts(deadline), connections.now)
        return TokenEndpoint(
            self.accounts(deadline),
            clients,
            connections.kms_until(deadline),
            self.issuer,
            self.audience,
            self._cache,
            connections.now,
        )
