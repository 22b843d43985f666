"""Payment, stock and cancellation that come in as events, and what became of mails: the consumer of their queue."""

from ordering.entry import inbound

handler = inbound.incoming_from_environment()
