"""Events of orders, sent to the webhooks of partners: the consumer of the webhooks' queue."""

from ordering.entry import webhook_delivery

handler = webhook_delivery.webhook_delivery_from_environment()
