"""The consumer of the webhooks' queue, which sends events of orders to partners' webhooks."""

from ordering.entry import webhook_delivery

handler = webhook_delivery.webhook_delivery_from_environment()
