/** The service of share links. */

import { createClient } from "@connectrpc/connect";
import { SharingService } from "@/gen/pingvas/gallery/v1/sharing_service_pb";
import { transport } from "./transport";

export const sharing = createClient(SharingService, transport);
