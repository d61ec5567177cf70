/** The services that somebody who is signed in needs at once. Others have modules of their own, which come with their pages. */

import { createClient } from "@connectrpc/connect";
import { GalleryService } from "@/gen/pingvas/gallery/v1/gallery_service_pb";
import { GenerationService } from "@/gen/pingvas/generation/v1/generation_service_pb";
import { ModelService } from "@/gen/pingvas/models/v1/model_service_pb";
import { CreditService } from "@/gen/pingvas/payment/v1/credit_service_pb";
import { UserService } from "@/gen/pingvas/user/v1/user_service_pb";
import { transport } from "./transport";

export const users = createClient(UserService, transport);
export const generation = createClient(GenerationService, transport);
export const gallery = createClient(GalleryService, transport);
export const models = createClient(ModelService, transport);
export const credits = createClient(CreditService, transport);
