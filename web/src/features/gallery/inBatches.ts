/** How many pictures one call may name. */
const BATCH = 1000;

/** Calls for as many ids at once as a call may name. */
export async function inBatches(ids: string[], call: (ids: string[]) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < ids.length; at += BATCH) await call(ids.slice(at, at + BATCH));
}
