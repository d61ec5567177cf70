/**
 * Who is signed in. The access token lives in this module's memory only; the refresh token is in an HttpOnly cookie that
 * no script can read, so that closing the page signs nobody out and a stolen page holds ten minutes at most.
 */

export type SessionState = "restoring" | "signedOut" | "signedIn";

interface TokenReply {
  access_token: string;
  expires_in: number;
}

/** A token is renewed this long before its end, so that no call is sent with one that expires on its way. */
const RENEW_BEFORE_MS = 30_000;

let state: SessionState = "restoring";
let token = "";
let expiresAt = 0;
let renewal: Promise<boolean> | undefined;
const listeners = new Set<() => void>();

export function sessionState(): SessionState {
  return state;
}

export function subscribeToSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Signs in; throws the refusal as google.rpc.Status in JSON, for `problemOf`. */
export async function signIn(email: string, password: string): Promise<void> {
  const reply = await fetch("/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ email, password }),
  });
  const body = await reply.json();
  if (!reply.ok) throw new StatusError(body);
  accept(body);
}

/** Signs out here and ends the session on the server. */
export async function signOut(): Promise<void> {
  await fetch("/session", { method: "DELETE" }).catch(() => undefined);
  become("signedOut");
}

/** Takes up the session of before, if the cookie still names one. */
export async function restoreSession(): Promise<void> {
  if (!(await renew()) && state === "restoring") become("signedOut");
}

/** Returns a token that is good for at least half a minute; an empty one when nobody is signed in. */
export async function accessToken(): Promise<string> {
  if (token && Date.now() > expiresAt - RENEW_BEFORE_MS) await renew();
  return token;
}

/** Renews the token, once for all who ask at the same time; says whether somebody is signed in afterwards. */
export function renew(): Promise<boolean> {
  renewal ??= renewOnce().finally(() => {
    renewal = undefined;
  });
  return renewal;
}

/** A refusal of an address that isn't called by gRPC-web: the same Status, as JSON. */
export class StatusError extends Error {
  constructor(readonly status: { code?: number; message?: string; details?: Record<string, unknown>[] }) {
    super(status.message ?? "");
  }
}

async function renewOnce(): Promise<boolean> {
  // One page at a time: a refresh token that is used twice ends its whole family, since one of the two may be a thief.
  const reply = await navigator.locks.request("pingvas.session", () =>
    fetch("/session/refresh", { method: "POST" }).catch(() => undefined),
  );
  if (reply?.status === 200) {
    accept(await reply.json());
    return true;
  }
  // Away or overloaded is no refusal: the token may still be good, and the next call tries again.
  if (reply && reply.status < 500) become("signedOut");
  return false;
}

function accept(reply: TokenReply): void {
  token = reply.access_token;
  expiresAt = Date.now() + reply.expires_in * 1000;
  become("signedIn");
}

function become(next: SessionState): void {
  if (next === "signedOut") token = "";
  if (state === next) return;
  state = next;
  for (const listener of listeners) listener();
}
