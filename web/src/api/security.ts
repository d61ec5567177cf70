/** The services of the page on security. */

import { createClient } from "@connectrpc/connect";
import { AuditService } from "@/gen/pingvas/user/v1/audit_service_pb";
import { SecondFactorService } from "@/gen/pingvas/user/v1/second_factor_service_pb";
import { transport } from "./transport";

export const secondFactors = createClient(SecondFactorService, transport);
export const auditLog = createClient(AuditService, transport);
