/** The service of webhook endpoints. */

import { createClient } from "@connectrpc/connect";
import { WebhookEndpointService } from "@/gen/pingvas/generation/v1/webhook_endpoint_service_pb";
import { transport } from "./transport";

export const webhooks = createClient(WebhookEndpointService, transport);
