/** The services by which people get in. */

import { createClient } from "@connectrpc/connect";
import { AuthService } from "@/gen/pingvas/user/v1/auth_service_pb";
import { IdentityService } from "@/gen/pingvas/user/v1/identity_service_pb";
import { transport } from "./transport";

export const auth = createClient(AuthService, transport);
export const identities = createClient(IdentityService, transport);
