/** The service that closes accounts and opens them again. */

import { createClient } from "@connectrpc/connect";
import { DeletionService } from "@/gen/pingvas/user/v1/deletion_service_pb";
import { transport } from "./transport";

export const deletion = createClient(DeletionService, transport);
