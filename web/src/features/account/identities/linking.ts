/** Leaving for a provider to link it. The attempt's secret stays in a cookie; the page learns only where to go. */

import { accessToken, StatusError } from "@/api/session";
import type { ProviderName } from "./providers";

/** Opens the provider's page in place of this one; throws the refusal for `problemOf`. */
export async function leaveToLink(name: ProviderName): Promise<void> {
  const reply = await fetch("/session/identities", {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${await accessToken()}` },
    body: JSON.stringify({ provider: `PROVIDER_${name.toUpperCase()}` }),
  });
  const body = await reply.json();
  if (!reply.ok) throw new StatusError(body);
  window.location.assign(body.authorization_url);
}
