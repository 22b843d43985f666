// The life of an order on every contract, by the client that openapi-generator's `typescript-fetch` generates.
// It gets the demo file of the stack as its first argument. Its output is one JSON object.

import { readFileSync } from "node:fs";
import {
  Configuration,
  DealErrorsFromJSON,
  DealLineItemsApi,
  DealOrdersApi,
  ECardOrdersApi,
  EcardErrorFromJSON,
  IssueTokenGrantTypeEnum,
  ProblemFromJSON,
  ResponseError,
  TokensApi,
  TrainingOrdersApi,
  WebhookEventType,
  WebhooksApi,
  type EcardOrderRequest,
} from "./client/index.js";

type Demo = {
  baseUrl: string;
  businessUnitId: string;
  tokens: Record<"training" | "deals", string>;
  clients: { ecards: { clientId: string; clientSecret: string } };
  order: { orderItems: { featureSetId: string }[] };
};

const demo: Demo = JSON.parse(readFileSync(process.argv[2]!, "utf8"));

// The client sends the token of the scheme `oauth2` as it is, without `Bearer`.
const as = (token?: string) =>
  new Configuration({
    basePath: demo.baseUrl,
    ...(token && { accessToken: (scheme?: string) => (scheme === "oauth2" ? `Bearer ${token}` : token) }),
  });

// The error of a call that is refused, in the model that `read` makes of its body.
async function refused<T>(call: Promise<unknown>, read: (body: unknown) => T): Promise<T> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ResponseError) return read(await error.response.json());
    throw error;
  }
  throw new Error("a call that must be refused had a response");
}

async function training() {
  const api = new TrainingOrdersApi(as(demo.tokens.training));
  const { businessUnitId } = demo;
  const made = await api.createOrder({
    businessUnitId,
    idempotencyKey: crypto.randomUUID(),
    trainingOrderRequest: {
      purchaseOrderReference: "PO-GENERATED",
      emailKeys: false,
      orderItems: [{ featureSetId: demo.order.orderItems[0]!.featureSetId, quantity: 2 }],
    },
  });
  const read = await api.getOrder({ businessUnitId, orderId: made.id });
  const page = await api.listOrders({ businessUnitId, pageSize: 3 });
  const missing = await refused(api.getOrder({ businessUnitId, orderId: 999_999_999 }), ProblemFromJSON);
  return [made.orderStatus, read.purchasingOrderReference, page.items.length, missing.status];
}

async function deals() {
  const api = new DealOrdersApi(as(demo.tokens.deals));
  const order = { dealOrderRequest: { data: { dealId: 2_000_003, discount: 5 } } };
  const { id } = (await api.createDealOrder(order)).data;
  const again = await refused(api.createDealOrder(order), DealErrorsFromJSON);
  const added = await new DealLineItemsApi(as(demo.tokens.deals)).createDealLineItem({
    orderId: id,
    dealLineItemRequest: { data: { productId: 4, currency: "USD", variation: "2" } },
  });
  const read = await api.getDealOrder({ id });
  const page = await api.listDealOrders({ perPage: 3, sortBy: "discount:desc" });
  const deleted = await api.deleteDealOrderRaw({ id });
  const { code } = again.errors[0]!.error;
  return [read.data.dealId, added.data.value, page.items.length, code, deleted.raw.status];
}

async function ecards() {
  const asked = { grantType: IssueTokenGrantTypeEnum.ClientCredentials, ...demo.clients.ecards };
  const { accessToken } = await new TokensApi(as()).issueToken(asked);
  const api = new ECardOrdersApi(as(accessToken));
  const ecardOrderRequest: EcardOrderRequest = {
    orderId: crypto.randomUUID(),
    participant: { email: "generated@example.com", name: "John Doe", phone: "79251153242" },
    ecards: [{ id: 1, quantity: 2, faceValue: "100 ₽" }],
  };
  const made = await api.createEcardOrder({ ecardOrderRequest });
  const read = await api.getEcardOrder({ orderId: made.id });
  const page = await api.listEcardOrders();
  const cards = [{ ...ecardOrderRequest.ecards[0]!, id: 999 }];
  const other = { ...ecardOrderRequest, orderId: crypto.randomUUID(), ecards: cards };
  const fault = await refused(api.createEcardOrder({ ecardOrderRequest: other }), EcardErrorFromJSON);
  return [read.total, read.ecards[0]!.faceValue, page.currentPage, Object.keys(fault.errors)];
}

async function webhooks() {
  const api = new WebhooksApi(as(demo.tokens.training));
  const types = [WebhookEventType.OrderingTrainingOrderCompleted];
  const made = await api.createWebhook({ webhookRequest: { url: "https://example.com/generated", types } });
  const removed = await api.deleteWebhookRaw({ webhookId: made.id });
  return [made.secret.startsWith("whsec_"), removed.raw.status];
}

console.log(
  JSON.stringify({ training: await training(), deals: await deals(), ecards: await ecards(), webhooks: await webhooks() }),
);
