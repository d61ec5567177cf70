/** What moved the credits: as lines, and as CSV. */

import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { useInfiniteQuery } from "@tanstack/react-query";
import { credits } from "@/api/clients";
import { type Transaction, TransactionKind } from "@/gen/pingvas/payment/v1/credit_service_pb";
import { lookAgain } from "./billing";

const PAGE = 20;

/** What a person has chosen to see; `day` is YYYY-MM-DD where they are. Empty fields choose everything. */
export interface Choice {
  kind: TransactionKind;
  jobId: string;
  day: string;
}

export const EVERYTHING: Choice = { kind: TransactionKind.UNSPECIFIED, jobId: "", day: "" };

export function filterOf({ kind, jobId, day }: Choice) {
  const start = day ? new Date(`${day}T00:00:00`) : undefined;
  const end = start && new Date(start.getFullYear(), start.getMonth(), start.getDate() + 1);
  return {
    kinds: kind ? [kind] : [],
    jobId,
    startTime: start && timestampFromDate(start),
    endTime: end && timestampFromDate(end),
  };
}

export function useTransactions(choice: Choice, { isExpected = false } = {}) {
  return useInfiniteQuery({
    queryKey: ["transactions", choice],
    queryFn: ({ pageParam }) =>
      credits.listTransactions({ pageSize: PAGE, pageToken: pageParam, filter: filterOf(choice) }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.transactions),
    refetchInterval: isExpected && lookAgain,
  });
}

/** The parts of a movement that aren't zero, by the names of their texts. */
export function partsOf(moved: Transaction): [part: string, amount: string][] {
  const closes = moved.kind === TransactionKind.SETTLE || moved.kind === TransactionKind.RELEASE;
  const parts: [string, string][] = [
    ["held", closes ? moved.held.replace("-", "") : moved.held],
    ["charged", moved.spent],
    ["released", closes ? moved.amount : ""],
    ["lapsed", moved.lapsed],
    ["revoked", moved.revoked],
  ];
  return parts.filter(([, amount]) => Number(amount) !== 0);
}

export async function exportTransactions(choice: Choice): Promise<string> {
  let [text, pageToken] = ["", ""];
  do {
    const page = await credits.exportTransactions({ pageToken, filter: filterOf(choice) });
    text += page.csv;
    pageToken = page.nextPageToken;
  } while (pageToken);
  return text;
}

/** The names of the latest months (UTC), the present one first. */
export function latestMonths(now: Date, count: number): string[] {
  return Array.from({ length: count }, (_, back) =>
    new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1)).toISOString().slice(0, 7),
  );
}

export async function exportBalance(): Promise<string> {
  return (await credits.exportBalance({})).csv;
}
