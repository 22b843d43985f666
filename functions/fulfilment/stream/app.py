"""What happens after an order is taken: the consumer of the orders table's stream, and of what that put aside."""

from ordering.entry import consumers as workers

handler = workers.stream_from_environment()
