"""Client credentials for a token, and the public keys that tokens are verified by."""

from ordering.entry.api import Api
from ordering.identity import contract as oauth
from ordering.identity.services import IdentityServices
from ordering.web.http import Answer, PublicCall

app = Api(oauth.CONTRACT, IdentityServices, public=True)


@app.post("/connect/token", summary="Get a token", tags=["Tokens"])
def issue_token(visit: PublicCall) -> Answer[oauth.Token]:
    """A token for a client's id and secret, sent as a form: urlencoded or multipart.

    It is good for an hour and for every contract that the client is granted; ask for a new one before it ends.
    """
    asked = oauth.credentials(visit.request)
    desk = app.services.token_endpoint(visit.deadline)
    client = desk.authenticate(asked["client_id"], asked["client_secret"], visit.request.address)
    scope = oauth.covered(asked["scope"], client.scope)
    return oauth.token(desk.issue(client, scope), scope)


@app.get("/.well-known/jwks.json", summary="Get the keys that verify tokens", tags=["Tokens"])
def get_keys(visit: PublicCall) -> Answer[oauth.KeySet]:
    """The public keys of all live tokens, several while one replaces another."""
    return oauth.key_set(app.services.token_endpoint(visit.deadline).keys())


handler = app.ready()
