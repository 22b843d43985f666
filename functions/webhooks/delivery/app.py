"""Events of orders, sent to the webhooks of partners: the consumer of the webhooks' queue."""

from ordering.entry import consumers as workers

handler = workers.webhook_delivery_from_environment()
