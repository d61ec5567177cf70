/** What the address of an administration page says of what is shown in it. */

const NAMES = ["find", "tier", "role", "kind"] as const;

export type AdminSearch = { [name in (typeof NAMES)[number]]?: string };

export function adminSearch(search: Record<string, unknown>): AdminSearch {
  // A router reads a number in an address as one.
  const given = NAMES.filter((name) => ["string", "number"].includes(typeof search[name]));
  return Object.fromEntries(given.map((name) => [name, String(search[name])]).filter(([, text]) => text));
}
