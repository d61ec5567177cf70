/** The service of lineage. */

import { createClient } from "@connectrpc/connect";
import { LineageService } from "@/gen/pingvas/gallery/v1/lineage_service_pb";
import { transport } from "./transport";

export const lineage = createClient(LineageService, transport);
