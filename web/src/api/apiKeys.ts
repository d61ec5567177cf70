/** The service of API keys. */

import { createClient } from "@connectrpc/connect";
import { ApiKeyService } from "@/gen/pingvas/user/v1/api_key_service_pb";
import { transport } from "./transport";

export const apiKeys = createClient(ApiKeyService, transport);
