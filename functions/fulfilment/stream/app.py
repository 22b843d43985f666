"""The consumer of the orders table's stream, and of the queue of its deferred records."""

from ordering.entry import stream

handler = stream.stream_from_environment()
