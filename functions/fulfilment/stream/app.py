"""What happens after an order is taken: the consumer of the orders table's stream, and of what that put aside."""

from ordering.entry import stream

handler = stream.stream_from_environment()
