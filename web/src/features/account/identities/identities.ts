import { useQuery } from "@tanstack/react-query";
import { identities } from "@/api/entry";

export const IDENTITIES = ["identities"];
/** More than anybody links. */
const PAGE = 200;

/** The ways into the account: what is linked, and whether there is a password. */
export function useIdentities() {
  return useQuery({ queryKey: IDENTITIES, queryFn: () => identities.listIdentities({ pageSize: PAGE }) });
}
