import { useEffect, useState } from "react";

/**
 * The token of the mailed link that led here. It stands in the address's fragment, which goes to no server, and is taken
 * out of the address at once, so that it stays in no history either.
 */
export function useLinkToken(): string {
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token") ?? "");
  useEffect(() => {
    if (location.hash) history.replaceState(history.state, "", location.pathname);
  }, []);
  return token;
}
