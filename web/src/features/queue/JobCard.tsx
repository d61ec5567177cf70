import { Link } from "@tanstack/react-router";
import { RotateCcw, X } from "lucide-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { IconButton } from "@/components/ui";
import { recall } from "@/features/generate/draft";
import { JobStage } from "@/gen/pingvas/generation/v1/job_event_pb";
import { type Job, JobState } from "@/gen/pingvas/generation/v1/job_pb";
import { promptOf, useCancelJob } from "./jobs";
import { type Live, useLive } from "./previews";
import { isTerminal } from "./watch";

/** One job: its previews while it runs, in the place where its pictures will be. */
export function JobCard({ job }: { job: Job }) {
  const live = useLive(job.jobId);
  return (
    <li
      className="flex flex-col overflow-hidden rounded-xl border border-line bg-surface"
      data-state={JobState[job.state]}
    >
      <Pictures job={job} live={live} />
      <ProgressBar job={job} live={live} />
      <div className="flex items-start gap-1 p-3 pr-1.5">
        <div className="min-w-0 flex-1">
          <p className="line-clamp-2 text-sm">{promptOf(job)}</p>
          <p className="mt-1 text-xs text-muted tabular-nums" aria-live="polite">
            <JobStatus job={job} live={live} />
          </p>
        </div>
        <Actions job={job} />
      </div>
    </li>
  );
}

function Pictures({ job, live }: { job: Job; live: Live | undefined }) {
  const count = Math.max(1, job.images.length || (countOf(job) ?? 1));
  const tiles: ReactNode[] = [];
  for (let index = 0; index < count; index++) {
    const image = job.images[index];
    const preview = live?.previews[index];
    tiles.push(
      image ? (
        <Link key={index} to="/gallery" search={{ image: image.imageId }} className="block">
          <img
            src={image.url}
            alt={promptOf(job)}
            className="aspect-square w-full bg-raised object-contain"
          />
        </Link>
      ) : preview ? (
        <img
          key={index}
          src={preview}
          alt=""
          className="aspect-square w-full scale-105 object-cover blur-[1px]"
        />
      ) : (
        <div
          key={index}
          className={`aspect-square w-full bg-raised ${isTerminal(job.state) ? "" : "animate-pulse"}`}
        />
      ),
    );
  }
  return <div className={`grid gap-px overflow-hidden ${count > 1 ? "grid-cols-2" : ""}`}>{tiles}</div>;
}

export function ProgressBar({ job, live }: { job: Job; live: Live | undefined }) {
  const percent = job.state === JobState.RUNNING ? (live?.progress.percent ?? 0) : 0;
  if (isTerminal(job.state)) return null;
  return (
    <progress
      aria-label={promptOf(job)}
      value={percent}
      max={100}
      className="h-1 w-full appearance-none bg-raised [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-raised [&::-webkit-progress-value]:bg-accent"
    />
  );
}

export function JobStatus({ job, live }: { job: Job; live: Live | undefined }) {
  const { t, i18n } = useTranslation();
  switch (job.state) {
    case JobState.QUEUED:
      return job.queuePosition > 0 ? t("queue.waiting", { count: job.queuePosition }) : t("queue.soon");
    case JobState.RUNNING: {
      if (!live) return t("queue.soon");
      if (live.progress.stage === JobStage.FETCHING_MODEL) return t("queue.fetching");
      if (live.progress.stage === JobStage.LOADING_MODEL) return t("queue.loading");
      const left = t("queue.secondsLeft", { seconds: Math.ceil(live.progress.secondsLeft) });
      return `${t("queue.running", { percent: live.progress.percent })} · ${left}`;
    }
    case JobState.FINALIZING:
      return t("queue.finalizing");
    case JobState.FAILED:
      return <span className="text-danger">{job.failure?.message || t("queue.failed")}</span>;
    case JobState.CANCELLED:
      return t("queue.cancelled");
    default:
      return t("queue.cost", { credits: Number(job.creditsUsed).toLocaleString(i18n.language) });
  }
}

function Actions({ job }: { job: Job }) {
  const { t } = useTranslation();
  const cancel = useCancelJob();
  if (isTerminal(job.state)) {
    return (
      <IconButton label={t("queue.retry")} onClick={() => recall(job, 0n, "remix")}>
        <RotateCcw className="size-4" aria-hidden />
      </IconButton>
    );
  }
  return (
    <IconButton
      label={t("queue.cancel")}
      disabled={cancel.isPending}
      onClick={() => cancel.mutate(job.jobId)}
    >
      <X className="size-4" aria-hidden />
    </IconButton>
  );
}

function countOf(job: Job): number | undefined {
  return job.operation.case === "upscale" ? 1 : job.operation.value?.imageCount;
}
