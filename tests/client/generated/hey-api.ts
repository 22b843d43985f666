// The life of an order on every contract, by the functions that @hey-api/openapi-ts generates.
// It gets the demo file of the stack as its first argument. Its output is one JSON object.

import { readFileSync } from "node:fs";
import { createClient } from "./client/client/index.ts";
import * as api from "./client/index.ts";

type Demo = {
  baseUrl: string;
  businessUnitId: string;
  tokens: Record<"training" | "deals", string>;
  clients: { ecards: { clientId: string; clientSecret: string } };
  order: { orderItems: { featureSetId: string }[] };
};

const demo: Demo = JSON.parse(readFileSync(process.argv[2]!, "utf8"));
const caller = (auth: string) => createClient({ baseUrl: demo.baseUrl, auth });

function found<T>(data: T | undefined, error?: unknown): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

async function training() {
  const client = caller(demo.tokens.training);
  const query = { businessUnitId: demo.businessUnitId };
  const body: api.TrainingOrderRequest = {
    purchaseOrderReference: "PO-GENERATED",
    emailKeys: false,
    orderItems: [{ featureSetId: demo.order.orderItems[0]!.featureSetId, quantity: 2 }],
  };
  const headers = { "Idempotency-Key": crypto.randomUUID() };
  const made = await api.createOrder({ client, query, headers, body });
  const path = { orderId: found(made.data, made.error).id };
  const read = await api.getOrder({ client, query, path });
  const page = await api.listOrders({ client, query: { ...query, _pageSize: 3 } });
  const missing = await api.getOrder({ client, query, path: { orderId: 999_999_999 } });
  const reference = found(read.data, read.error).purchasingOrderReference;
  return [found(made.data).orderStatus, reference, found(page.data).items.length, missing.error?.status];
}

async function deals() {
  const client = caller(demo.tokens.deals);
  const body: api.DealOrderRequest = { data: { deal_id: 2_000_004, discount: 5 } };
  const made = await api.createDealOrder({ client, body });
  const { id } = found(made.data, made.error).data;
  const again = await api.createDealOrder({ client, body });
  const line: api.DealLineItemRequest = { data: { product_id: 4, currency: "USD", variation: "2" } };
  const added = await api.createDealLineItem({ client, path: { order_id: id }, body: line });
  const read = await api.getDealOrder({ client, path: { id } });
  const page = await api.listDealOrders({ client, query: { per_page: 3, sort_by: "discount:desc" } });
  const deleted = await api.deleteDealOrder({ client, path: { id } });
  return [
    found(read.data, read.error).data.deal_id,
    found(added.data, added.error).data.value,
    found(page.data, page.error).items.length,
    found(again.error).errors[0]!.error.code,
    deleted.response?.status,
  ];
}

async function ecards() {
  const { clientId, clientSecret } = demo.clients.ecards;
  const asked = await api.issueToken({
    client: createClient({ baseUrl: demo.baseUrl }),
    body: { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret },
  });
  const client = caller(found(asked.data, asked.error).access_token);
  const body: api.EcardOrderRequest = {
    orderId: crypto.randomUUID(),
    participant: { email: "generated@example.com", name: "John Doe", phone: "79251153242" },
    ecards: [{ id: 1, quantity: 2, faceValue: "100 ₽" }],
  };
  const made = await api.createEcardOrder({ client, body });
  const read = await api.getEcardOrder({ client, path: { order_id: found(made.data, made.error).id } });
  const page = await api.listEcardOrders({ client });
  const cards = [{ ...body.ecards[0]!, id: 999 }];
  const refused = await api.createEcardOrder({ client, body: { ...body, orderId: crypto.randomUUID(), ecards: cards } });
  const { total, ecards } = found(read.data, read.error);
  return [total, ecards[0]!.faceValue, found(page.data).currentPage, Object.keys(found(refused.error).errors ?? {})];
}

async function webhooks() {
  const client = caller(demo.tokens.training);
  const types: api.WebhookEventType[] = ["ordering.training_order.completed"];
  const made = await api.createWebhook({ client, body: { url: "https://example.com/generated", types } });
  const { id, secret } = found(made.data, made.error);
  const removed = await api.deleteWebhook({ client, path: { webhookId: id } });
  return [secret.startsWith("whsec_"), removed.response?.status];
}

console.log(
  JSON.stringify({ training: await training(), deals: await deals(), ecards: await ecards(), webhooks: await webhooks() }),
);
