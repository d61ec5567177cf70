/** The services that answer administrators and support only. */

import { createClient } from "@connectrpc/connect";
import { GenerationAdminService } from "@/gen/pingvas/generation/v1/generation_admin_service_pb";
import { PaymentAdminService } from "@/gen/pingvas/payment/v1/payment_admin_service_pb";
import { AccountAdminService } from "@/gen/pingvas/user/v1/account_admin_service_pb";
import { AuditService } from "@/gen/pingvas/user/v1/audit_service_pb";
import { transport } from "./transport";

export const accounts = createClient(AccountAdminService, transport);
export const payments = createClient(PaymentAdminService, transport);
export const operations = createClient(GenerationAdminService, transport);
export const auditLog = createClient(AuditService, transport);
