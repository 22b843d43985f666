"""What happens after an order is taken: the consumer of the orders table's stream."""

from ordering import wiring

handler = wiring.fulfilment_from_environment()
