/** The service that adds up what jobs used. */

import { createClient } from "@connectrpc/connect";
import { UsageService } from "@/gen/pingvas/generation/v1/usage_service_pb";
import { transport } from "./transport";

export const usage = createClient(UsageService, transport);
