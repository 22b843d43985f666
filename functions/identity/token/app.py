"""Client credentials for a token, and the public keys that tokens are verified by."""

from ordering.entry.api import Api
from ordering.identity import contract as oauth
from ordering.identity.services import IdentityServices
from ordering.web.http import Answer, PublicCall

app = Api(oauth.CONTRACT, IdentityServices, public=True)


@app.post("/connect/token", summary="Get a token", tags=["Tokens"])
def issue_token(call: PublicCall) -> Answer[oauth.Token]:
    """A token for a client's id and secret, sent as a form: urlencoded or multipart.

    It is good for an hour and for every contract that the client is granted; ask for a new one before it ends.
    """
    asked = oauth.credentials(call.request)
    endpoint = app.services.token_endpoint(call.deadline)
    client = endpoint.authenticate(asked["client_id"], asked["client_secret"], call.request.address)
    scope = oauth.covered(asked["scope"], client.scope)
    return oauth.token(endpoint.issue(client, scope), scope)


@app.get("/.well-known/jwks.json", summary="Get the keys that verify tokens", tags=["Tokens"])
def get_keys(call: PublicCall) -> Answer[oauth.KeySet]:
    """The public keys of all live tokens, several while one replaces another."""
    return oauth.key_set(app.services.token_endpoint(call.deadline).keys())


handler = app.ready()
