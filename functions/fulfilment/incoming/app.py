"""The consumer of inbound events: payments, stock, cancellations, and notices about mails."""

from ordering.entry import inbound

handler = inbound.incoming_from_environment()
