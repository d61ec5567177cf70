import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { Infinity as Endless, Square } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { generation } from "@/api/clients";
import { isWorthRetrying, retryDelayMs } from "@/api/retries";
import { useProblemText } from "@/app/useProblem";
import { Button, Input, Notice } from "@/components/ui";
import { isTerminal, JOBS } from "@/features/queue/watch";
import { type Job, JobState } from "@/gen/pingvas/generation/v1/job_pb";
import { currentDraft, type Draft, requestFor } from "./draft";
import { keepDrawing, type Platform, stop, useRun } from "./forever";
import { priced } from "./usePrice";

const LEAST_CREDITS = 1;

/** Draws until a budget is used up. */
export function Forever({ isReady }: { isReady: boolean }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const run = useRun();
  const [budget, setBudget] = useState(run.budget);
  const spent = run.spent.toLocaleString(i18n.language, { maximumFractionDigits: 2 });
  const told = t("forever.told", { jobs: run.jobCount, spent, budget: run.budget });
  if (run.isOn) {
    return (
      <div className="flex items-center gap-2">
        <span role="status" className="flex-1 text-sm text-muted tabular-nums">
          {told}
        </span>
        <Button onClick={stop}>
          <Square className="size-3.5" aria-hidden />
          {t("forever.stop")}
        </Button>
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-2 text-sm">
      <details>
        <summary className="cursor-pointer text-muted">{t("forever.title")}</summary>
        <div className="mt-2 flex items-center gap-2">
          <span className="flex-1">{t("forever.budget")}</span>
          <Input
            type="number"
            aria-label={t("forever.budget")}
            min={LEAST_CREDITS}
            step="any"
            value={Number.isNaN(budget) ? "" : budget}
            onChange={(event) => setBudget(event.target.valueAsNumber)}
            className="h-9 w-20!"
          />
          <Button
            disabled={!isReady || !(budget >= LEAST_CREDITS)}
            onClick={() => void keepDrawing(budget, currentDraft, platformOf(queries))}
          >
            <Endless className="size-4" aria-hidden />
            {t("forever.start")}
          </Button>
        </div>
      </details>
      {typeof run.end === "object" && (
        <Notice>
          {run.end.error instanceof JobFailedError ? run.end.error.message : text(run.end.error)}
        </Notice>
      )}
      {run.end && (
        <p role="status" className="text-muted tabular-nums">
          {run.end === "budget" && `${t("forever.usedUp")} `}
          {run.end === "cancelled" && `${t("forever.cancelled")} `}
          {told}
        </p>
      )}
    </div>
  );
}

/** Says why a job has failed, in the platform's words. */
class JobFailedError extends Error {}

function platformOf(queries: QueryClient): Platform {
  return {
    quote: async (draft) => {
      const { operation } = requestFor(priced(draft));
      // No job costs more than what is set aside for it.
      const { creditsHeld } = await patiently(() => generation.quoteJob({ operation }));
      return Number(creditsHeld);
    },
    draw: async (draft, signal) => {
      const ended = await endOf(await begin(draft), queries, signal);
      if (!ended || ended.state === JobState.CANCELLED) return undefined;
      if (ended.state === JobState.FAILED) throw new JobFailedError(ended.failure?.message);
      return Number(ended.creditsUsed);
    },
  };

  async function begin(draft: Draft): Promise<string> {
    const request = requestFor(draft, crypto.randomUUID());
    const { jobId } = await patiently(() => generation.createJob(request));
    void queries.invalidateQueries({ queryKey: JOBS });
    return jobId;
  }
}

/** Calls again where that may help: no answer, or one call too many. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await call();
    } catch (error) {
      if (!isWorthRetrying(failures, error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, retryDelayMs(failures, error)));
    }
  }
}

/** The job as it ended, which the stream of events tells; undefined: nobody waits for it any more. */
function endOf(jobId: string, queries: QueryClient, signal: AbortSignal): Promise<Job | undefined> {
  return new Promise((resolve) => {
    const look = () => {
      const job = queries.getQueryData<Job[]>(JOBS)?.find((each) => each.jobId === jobId);
      if (!signal.aborted && !(job && isTerminal(job.state))) return;
      unsubscribe();
      resolve(signal.aborted ? undefined : job);
    };
    const unsubscribe = queries.getQueryCache().subscribe(look);
    signal.addEventListener("abort", look, { once: true });
    look();
  });
}
