/** The platform's services, called by gRPC-web. Nothing else in the page knows the transport. */

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ErrorInfoSchema } from "@/gen/google/rpc/error_details_pb";
import { GalleryService } from "@/gen/pingvas/gallery/v1/gallery_service_pb";
import { GenerationService } from "@/gen/pingvas/generation/v1/generation_service_pb";
import { ModelService } from "@/gen/pingvas/models/v1/model_service_pb";
import { CreditService } from "@/gen/pingvas/payment/v1/credit_service_pb";
import { AuthService } from "@/gen/pingvas/user/v1/auth_service_pb";
import { UserService } from "@/gen/pingvas/user/v1/user_service_pb";
import { accessToken, renew } from "./session";

/** Sends the token, and repeats a call once whose token had expired though the clock here said otherwise. */
const authenticated: Interceptor = (next) => async (request) => {
  const token = await accessToken();
  if (token) request.header.set("authorization", `Bearer ${token}`);
  try {
    return await next(request);
  } catch (error) {
    if (!hasExpired(error) || !(await renew())) throw error;
    request.header.set("authorization", `Bearer ${await accessToken()}`);
    return await next(request);
  }
};

function hasExpired(error: unknown): boolean {
  const failure = ConnectError.from(error);
  return (
    failure.code === Code.Unauthenticated &&
    failure.findDetails(ErrorInfoSchema).some(({ reason }) => reason === "TOKEN_EXPIRED")
  );
}

const transport = createGrpcWebTransport({
  baseUrl: globalThis.location?.origin ?? "http://localhost",
  interceptors: [authenticated],
});

export const auth = createClient(AuthService, transport);
export const users = createClient(UserService, transport);
export const generation = createClient(GenerationService, transport);
export const gallery = createClient(GalleryService, transport);
export const models = createClient(ModelService, transport);
export const credits = createClient(CreditService, transport);
