// The life of an order on every contract, by types that openapi-typescript generates and the client openapi-fetch.
// It gets the demo file of the stack as its first argument. Its output is one JSON object.

import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

type Schemas = components["schemas"];
type Demo = {
  baseUrl: string;
  businessUnitId: string;
  tokens: Record<"training" | "deals", string>;
  clients: { ecards: { clientId: string; clientSecret: string } };
  order: { orderItems: { featureSetId: string }[] };
};

const demo: Demo = JSON.parse(readFileSync(process.argv[2]!, "utf8"));
const client = (token: string) =>
  createClient<paths>({ baseUrl: demo.baseUrl, headers: { Authorization: `Bearer ${token}` } });

function found<T>(data: T | undefined, error?: unknown): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

async function training() {
  const api = client(demo.tokens.training);
  const query = { businessUnitId: demo.businessUnitId };
  const body: Schemas["TrainingOrderRequest"] = {
    purchaseOrderReference: "PO-GENERATED",
    emailKeys: false,
    orderItems: [{ featureSetId: demo.order.orderItems[0]!.featureSetId, quantity: 2 }],
  };
  const made = await api.POST("/api/v2/orders", { params: { query }, body });
  const path = { orderId: found(made.data, made.error).id };
  const read = await api.GET("/api/v2/orders/{orderId}", { params: { query, path } });
  const page = await api.GET("/api/v2/orders", { params: { query: { ...query, _pageSize: 3 } } });
  const missing = await api.GET("/api/v2/orders/{orderId}", { params: { query, path: { orderId: 999_999_999 } } });
  const status: Schemas["TrainingStatus"] = found(made.data).orderStatus;
  return [status, found(read.data).purchasingOrderReference, found(page.data).items.length, missing.error?.status];
}

async function deals() {
  const api = client(demo.tokens.deals);
  const body: Schemas["DealOrderRequest"] = { data: { deal_id: 2_000_001, discount: 5 } };
  const made = await api.POST("/v2/orders", { body });
  const id = found(made.data, made.error).data.id;
  const again = await api.POST("/v2/orders", { body });
  const line: Schemas["DealLineItemRequest"] = {
    data: { product_id: 4, currency: "USD", variation: "2", quantity: 1 },
  };
  const added = await api.POST("/v2/orders/{order_id}/line_items", { params: { path: { order_id: id } }, body: line });
  const read = await api.GET("/v2/orders/{id}", { params: { path: { id } } });
  const page = await api.GET("/v2/orders", { params: { query: { per_page: 3, sort_by: "discount:desc" } } });
  const deleted = await api.DELETE("/v2/orders/{id}", { params: { path: { id } } });
  const code = found(again.error).errors[0]!;
  return [
    found(read.data).data.deal_id,
    found(added.data, added.error).data.value,
    found(page.data).items.length,
    "error" in code ? code.error.code : code,
    deleted.response.status,
  ];
}

async function ecards() {
  const { clientId, clientSecret } = demo.clients.ecards;
  const asked = await createClient<paths>({ baseUrl: demo.baseUrl }).POST("/connect/token", {
    body: { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret },
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  });
  const api = client(found(asked.data, asked.error).access_token);
  const body: Schemas["EcardOrderRequest"] = {
    orderId: crypto.randomUUID(),
    participant: { email: "generated@example.com", name: "John Doe", phone: "79251153242" },
    ecards: [{ id: 1, quantity: 2, faceValue: "100 ₽" }],
  };
  const made = await api.POST("/v1/orders", { body });
  const path = { order_id: found(made.data, made.error).id };
  const read = await api.GET("/v1/orders/{order_id}", { params: { path } });
  const page = await api.GET("/v1/orders", {});
  const card = { ...body.ecards[0]!, id: 999 };
  const refused = await api.POST("/v1/orders", { body: { ...body, orderId: crypto.randomUUID(), ecards: [card] } });
  const { total, ecards } = found(read.data, read.error);
  return [total, ecards[0]!.faceValue, found(page.data).currentPage, Object.keys(found(refused.error).errors ?? {})];
}

async function webhooks() {
  const api = client(demo.tokens.training);
  const type: Schemas["WebhookEventType"] = "ordering.training_order.completed";
  const made = await api.POST("/webhooks", { body: { url: "https://example.com/generated", types: [type] } });
  const { id, secret } = found(made.data, made.error);
  const removed = await api.DELETE("/webhooks/{webhookId}", { params: { path: { webhookId: id } } });
  return [secret.startsWith("whsec_"), removed.response.status];
}

console.log(
  JSON.stringify({ training: await training(), deals: await deals(), ecards: await ecards(), webhooks: await webhooks() }),
);
