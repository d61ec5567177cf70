/** The service of exports. */

import { createClient } from "@connectrpc/connect";
import { ExportService } from "@/gen/pingvas/gallery/v1/export_service_pb";
import { transport } from "./transport";

export const exports = createClient(ExportService, transport);
