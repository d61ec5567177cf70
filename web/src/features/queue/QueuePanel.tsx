import { X } from "lucide-react";
import { useTranslation } from "react-i18next";
import { IconButton } from "@/components/ui";
import type { Job } from "@/gen/pingvas/generation/v1/job_pb";
import { openJobs, promptOf, useCancelJob, useJobs } from "./jobs";
import { useLive } from "./previews";

/** What of one's own is waiting or running, the next one first. */
export function QueuePanel() {
  const { t } = useTranslation();
  const { data: jobs } = useJobs();
  const open = openJobs(jobs ?? []).reverse();
  return (
    <aside
      aria-label={t("queue.title")}
      className="hidden w-64 shrink-0 flex-col gap-2 overflow-y-auto border-l border-line bg-surface p-4 xl:flex"
    >
      <h2 className="flex items-baseline justify-between text-sm font-semibold">
        {t("queue.title")}
        <span className="text-muted tabular-nums">{open.length}</span>
      </h2>
      {open.length === 0 && <p className="text-sm text-muted">{t("queue.empty")}</p>}
      <ol className="flex flex-col gap-1">
        {open.map((job) => (
          <OpenJob key={job.jobId} job={job} />
        ))}
      </ol>
    </aside>
  );
}

function OpenJob({ job }: { job: Job }) {
  const { t } = useTranslation();
  const live = useLive(job.jobId);
  const cancel = useCancelJob();
  return (
    <li className="flex items-center gap-2 rounded-lg bg-raised py-1 pr-1 pl-3">
      <span className="min-w-0 flex-1 truncate text-sm">{promptOf(job)}</span>
      <span className="text-xs text-muted tabular-nums">{live ? `${live.progress.percent} %` : ""}</span>
      <IconButton
        label={t("queue.cancel")}
        disabled={cancel.isPending}
        onClick={() => cancel.mutate(job.jobId)}
      >
        <X className="size-4" aria-hidden />
      </IconButton>
    </li>
  );
}
