/** The service of people's own LoRAs. */

import { createClient } from "@connectrpc/connect";
import { LoraService } from "@/gen/pingvas/models/v1/lora_service_pb";
import { transport } from "./transport";

export const loras = createClient(LoraService, transport);
