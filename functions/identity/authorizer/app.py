"""Who calls: a bearer token becomes the principal that the functions are handed."""

from ordering.entry import wiring

handler = wiring.authorizer_from_environment()
