import { useQuery } from "@tanstack/react-query";
import { platformStatus } from "@/api/status";

const AGAIN_MS = 5000;

/** The state of each part, asked for again as long as it is shown. */
export function useStatus() {
  return useQuery({
    queryKey: ["status"],
    queryFn: platformStatus,
    refetchInterval: AGAIN_MS,
    meta: { isPublic: true },
  });
}
