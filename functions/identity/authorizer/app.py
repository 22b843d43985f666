"""The authorizer: it turns a bearer token into the caller's principal."""

from ordering.entry import authorization

handler = authorization.authorizer_from_environment()
