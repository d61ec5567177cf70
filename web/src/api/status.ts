/** How the platform is, which anybody may ask and no service of it answers. */

import { StatusError } from "./session";

export interface PartStatus {
  part: string;
  state: "up" | "down" | "unknown";
}

export interface PlatformStatus {
  check_time: string;
  parts: PartStatus[];
}

export async function platformStatus(): Promise<PlatformStatus> {
  const reply = await fetch("/status.json");
  if (!reply.ok) throw new StatusError({});
  return reply.json();
}
