/** The services of plans and payments. */

import { createClient } from "@connectrpc/connect";
import { EnterpriseService } from "@/gen/pingvas/payment/v1/enterprise_service_pb";
import { SubscriptionService } from "@/gen/pingvas/payment/v1/subscription_service_pb";
import { transport } from "./transport";

export const enterprise = createClient(EnterpriseService, transport);
export const subscriptions = createClient(SubscriptionService, transport);
