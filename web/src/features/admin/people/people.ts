import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { accounts } from "@/api/admin";
import { Role } from "@/gen/pingvas/common/v1/role_pb";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import type { ManagedUser } from "@/gen/pingvas/user/v1/account_admin_service_pb";
import type { AdminSearch } from "../search";

const PAGE = 50;
const PEOPLE = ["admin", "people"];

export function usePeople({ find = "", tier = "", role = "" }: AdminSearch) {
  return useInfiniteQuery({
    queryKey: [...PEOPLE, find, tier, role],
    queryFn: ({ pageParam }) =>
      accounts.searchUsers({
        query: find,
        tier: Tier[tier as keyof typeof Tier] ?? Tier.UNSPECIFIED,
        role: Role[role as keyof typeof Role] ?? Role.UNSPECIFIED,
        pageSize: PAGE,
        pageToken: pageParam,
      }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: 0,
  });
}

/** A change of somebody's account, after which whoever is listed is read anew. */
export function useChange<T>(change: (value: T) => Promise<unknown>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSettled: () => queries.invalidateQueries({ queryKey: PEOPLE }),
  });
}

export function isSuspended(person: ManagedUser): boolean {
  return person.suspendTime !== undefined;
}
