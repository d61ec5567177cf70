/** One's jobs, newest first, and what can be done to them. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { generation } from "@/api/clients";
import type { Job } from "@/gen/pingvas/generation/v1/job_pb";
import { isTerminal, JOBS } from "./watch";

const SHOWN = 50;

export function useJobs() {
  return useQuery({
    queryKey: JOBS,
    queryFn: async () => (await generation.listJobs({ pageSize: SHOWN })).jobs,
    staleTime: Number.POSITIVE_INFINITY, // the stream of events keeps it fresh
  });
}

export function useCancelJob() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (jobId: string) => generation.cancelJob({ jobId }),
    onSettled: () => queries.invalidateQueries({ queryKey: JOBS }),
  });
}

/** The seed of the newest picture. */
export function useLastSeed(): bigint | undefined {
  const { data: jobs } = useJobs();
  return jobs?.find((job) => job.images.length > 0)?.images[0]?.seed;
}

export function openJobs(jobs: readonly Job[]): Job[] {
  return jobs.filter((job) => !isTerminal(job.state));
}

/** What every operation with a prompt has in common; an upscale may have none. */
export function promptOf(job: Job): string {
  return job.operation.value?.prompt ?? "";
}
