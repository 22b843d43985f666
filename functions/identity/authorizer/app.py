"""Who calls: a bearer token becomes the principal that the functions are handed."""

from ordering.entry import authorization

handler = authorization.authorizer_from_environment()
