import clsx from "clsx";
import { Bell, X } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { IconButton } from "@/components/ui";
import type { Job } from "@/gen/pingvas/generation/v1/job_pb";
import { askToTell, canAskToTell } from "./announce";
import { ClearQueue } from "./ClearQueue";
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
      className={clsx(
        "flex shrink-0 flex-col gap-2 overflow-y-auto border-line bg-surface p-4",
        // Where there is no room at the side, it stands above the pictures while there is something to tell.
        "max-xl:order-first max-xl:max-h-52 max-xl:border-b max-xl:py-2 xl:w-64 xl:border-l",
        open.length === 0 && "max-xl:hidden",
      )}
    >
      <div className="flex min-h-9 items-center gap-1">
        <h2 className="flex flex-1 items-baseline justify-between text-sm font-semibold">
          {t("queue.title")}
          <span className="text-muted tabular-nums">{open.length}</span>
        </h2>
        {open.length > 0 && <AskToTell />}
        {open.length > 0 && <ClearQueue />}
      </div>
      {open.length === 0 && <p className="text-sm text-muted">{t("queue.empty")}</p>}
      <ol className="flex flex-col gap-1">
        {open.map((job) => (
          <OpenJob key={job.jobId} job={job} />
        ))}
      </ol>
    </aside>
  );
}

/** Asks the browser once, when the person presses it; the answer is the browser's to keep. */
function AskToTell() {
  const { t } = useTranslation();
  const [isOffered, offer] = useState(canAskToTell);
  if (!isOffered) return null;
  return (
    <IconButton
      label={t("queue.announce")}
      onClick={() => void askToTell().then(() => offer(canAskToTell()))}
    >
      <Bell className="size-4" aria-hidden />
    </IconButton>
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
