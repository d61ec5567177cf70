/** What is sold, what one has, and what was paid. */

import {
  type QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { credits } from "@/api/clients";
import { subscriptions } from "@/api/subscriptions";
import type { Subscription } from "@/gen/pingvas/payment/v1/subscription_pb";

const ALL = 200;
const PAGE = 20;
/** What was paid is reported within seconds; until then it is looked for so often. */
const LOOK_AGAIN_MS = 2_000;
const MOST_LOOKS = 60;

export type Item = { case: "planId" | "packId"; value: string };

/** Of nobody in particular, so that it stays when somebody signs out. */
const PUBLIC = { isPublic: true };
const SUBSCRIPTION = ["subscription"];

export function lookAgain(query: { state: { dataUpdateCount: number } }): number | false {
  return query.state.dataUpdateCount < MOST_LOOKS && LOOK_AGAIN_MS;
}

export function usePlans() {
  return useQuery({
    queryKey: ["plans"],
    queryFn: async () => (await subscriptions.listPlans({ pageSize: ALL })).plans,
    meta: PUBLIC,
  });
}

export function usePacks() {
  return useQuery({
    queryKey: ["packs"],
    queryFn: async () => (await subscriptions.listPacks({ pageSize: ALL })).packs,
    meta: PUBLIC,
  });
}

export function useSubscription({ enabled = true, isExpected = false } = {}) {
  return useQuery({
    queryKey: SUBSCRIPTION,
    queryFn: () => subscriptions.getCurrentSubscription({}),
    refetchInterval: isExpected && lookAgain,
    enabled,
  });
}

export function useBalance({ isExpected = false } = {}) {
  return useQuery({
    queryKey: ["balance"],
    queryFn: () => credits.getBalance({}),
    refetchInterval: isExpected && lookAgain,
  });
}

export function useInvoices({ isExpected = false } = {}) {
  return useInfiniteQuery({
    queryKey: ["invoices"],
    queryFn: ({ pageParam }) => subscriptions.listInvoices({ pageSize: PAGE, pageToken: pageParam }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.invoices),
    refetchInterval: isExpected && lookAgain,
  });
}

/** Opens the provider's page in place of this one; it leads back to the page of payments. */
export function useCheckout() {
  return useMutation({
    mutationFn: (item: Item) => subscriptions.createCheckout({ requestId: crypto.randomUUID(), item }),
    onSuccess: ({ url }) => window.location.assign(url),
  });
}

export function usePortal() {
  return useMutation({
    mutationFn: () => subscriptions.getPortal({}),
    onSuccess: ({ url }) => window.location.assign(url),
  });
}

/** Changes the subscription; what it is afterwards is the answer. */
export function useSubscriptionChange() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (change: () => Promise<Subscription>) => change(),
    onSuccess: (subscription) => {
      queries.setQueryData(SUBSCRIPTION, subscription);
      return forgetMoney(queries);
    },
  });
}

function forgetMoney(queries: QueryClient): Promise<unknown> {
  return Promise.all(
    ["balance", "invoices", "transactions"].map((key) => queries.invalidateQueries({ queryKey: [key] })),
  );
}
