/** How the platform's services are called: by gRPC-web. Nothing else in the page knows it. */

import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ErrorInfoSchema } from "@/gen/google/rpc/error_details_pb";
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

export const transport = createGrpcWebTransport({
  baseUrl: globalThis.location?.origin ?? "http://localhost",
  interceptors: [authenticated],
});
