/** The service that changes e-mail addresses. */

import { createClient } from "@connectrpc/connect";
import { EmailService } from "@/gen/pingvas/user/v1/email_service_pb";
import { transport } from "./transport";

export const emails = createClient(EmailService, transport);
