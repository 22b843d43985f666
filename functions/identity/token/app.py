"""The token endpoint, the public keys that verify tokens, and the metadata of the authorization server."""

from ordering.entry.api import Api
from ordering.identity import contract as oauth
from ordering.identity.services import IdentityServices
from ordering.web.http import Answer, PublicCall

app = Api(oauth.CONTRACT, IdentityServices, public=True, revalidated=True)


@app.post(oauth.TOKEN_PATH, summary="Get a token", tags=["Tokens"])
def issue_token(call: PublicCall) -> Answer[oauth.OauthToken]:
    """Issue a token for a client's id and secret, sent in the form or by HTTP Basic, but not both.

    The form has up to 4,096 bytes and 20 parameters; it can also be sent as `multipart/form-data`. The token is valid
    for one hour, in every API that the client has a grant for. Request a new one before it expires.
    """
    asked = oauth.credentials(call.request)
    endpoint = app.services.token_endpoint(call.deadline)
    client = endpoint.authenticate(asked["client_id"], asked["client_secret"], call.request.address)
    scope = oauth.covered(asked["scope"], client.scope)
    return oauth.token(endpoint.issue(client, scope), scope)


@app.get(oauth.KEYS_PATH, summary="Get the keys that verify tokens", tags=["Tokens"])
def get_keys(call: PublicCall) -> Answer[oauth.OauthKeySet]:
    """Get the public keys that verify all valid tokens. There are several while one key replaces another."""
    return oauth.key_set(app.services.token_endpoint(call.deadline).keys())


@app.get(oauth.METADATA_PATH, summary="Get the metadata of the authorization server", tags=["Tokens"])
def get_metadata(call: PublicCall) -> Answer[oauth.OauthMetadata]:
    """Get what a client's library needs to request and verify tokens (RFC 8414)."""
    return oauth.metadata(call.request, app.services.issuer)


handler = app.ready(reads=("ACCOUNTS_TABLE", "CLIENT#"))
