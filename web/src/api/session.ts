/**
 * Who is signed in. The access token lives in this module's memory only; the refresh token is in an HttpOnly cookie that
 * no script can read, so that closing the page signs nobody out and a stolen page holds ten minutes at most.
 */

export type SessionState = "restoring" | "signedOut" | "signedIn";

interface TokenReply {
  access_token: string;
  expires_in: number;
}

/** What became of a renewal: without an answer, or with that of a server that is busy, the session may still be good. */
type Renewal = "renewed" | "refused" | "away";

/** How often, and after how long, a page that is opened asks again for a session before it says that there is none. */
const RESTORE_AGAIN_MS = [500, 1000, 2000, 4000];

/** A token is renewed this long before its end, so that no call is sent with one that expires on its way. */
const RENEW_BEFORE_MS = 30_000;

let state: SessionState = "restoring";
let token = "";
let expiresAt = 0;
let renewal: Promise<Renewal> | undefined;
const listeners = new Set<() => void>();

export function sessionState(): SessionState {
  return state;
}

export function subscribeToSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Takes the first step of signing in, and says whether a code is needed next; throws the refusal as google.rpc.Status in
 * JSON, for `problemOf`.
 */
export async function signIn(email: string, password: string): Promise<boolean> {
  return enter("/session", { email, password });
}

/** Takes the second step, with a code of the authenticator app or a recovery code. */
export async function signInWithCode(code: string): Promise<void> {
  await enter("/session/second-factor", { code });
}

async function enter(path: string, document: Record<string, string>): Promise<boolean> {
  const reply = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(document),
  });
  const body = await reply.json();
  if (!reply.ok) throw new StatusError(body);
  if (body.second_factor) return true;
  accept(body);
  return false;
}

/** Signs out here and ends the session on the server. */
export async function signOut(): Promise<void> {
  await fetch("/session", { method: "DELETE" }).catch(() => undefined);
  become("signedOut");
}

/** Takes up the session of before, if the cookie still names one. */
export async function restoreSession(): Promise<void> {
  let outcome = await renewed();
  for (const pause of RESTORE_AGAIN_MS) {
    if (outcome !== "away") break;
    await new Promise((resolve) => setTimeout(resolve, pause));
    outcome = await renewed();
  }
  if (outcome === "away" && state === "restoring") become("signedOut");
}

/** Returns a token that is good for at least half a minute; an empty one when nobody is signed in. */
export async function accessToken(): Promise<string> {
  if (token && Date.now() > expiresAt - RENEW_BEFORE_MS) await renew();
  return token;
}

/** Renews the token, once for all who ask at the same time; says whether somebody is signed in afterwards. */
export async function renew(): Promise<boolean> {
  return (await renewed()) === "renewed";
}

function renewed(): Promise<Renewal> {
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

async function renewOnce(): Promise<Renewal> {
  // One page at a time: a refresh token that is used twice ends its whole family, since one of the two may be a thief.
  const reply = await navigator.locks.request("pingvas.session", () =>
    fetch("/session/refresh", { method: "POST" }).catch(() => undefined),
  );
  if (reply?.status === 200) {
    accept(await reply.json());
    return "renewed";
  }
  if (!reply || reply.status >= 500) return "away";
  become("signedOut");
  return "refused";
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
