import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { Button, IconButton } from "@/components/ui";
import { JobStatus, ProgressBar } from "@/features/queue/JobCard";
import { promptOf, useCancelJob } from "@/features/queue/jobs";
import { useLive } from "@/features/queue/previews";
import { isTerminal } from "@/features/queue/watch";
import { type Job, JobState } from "@/gen/pingvas/generation/v1/job_pb";
import { Compare } from "./Compare";
import { grownFile } from "./canvases";
import type { Frame } from "./frame";

/** A job in the place of the canvas: its preview while it runs, then before and after. */
export function Outcome({
  job,
  pixels,
  frame,
  onClose,
}: {
  job: Job;
  pixels: ImageBitmap;
  frame: Frame;
  onClose: () => void;
}) {
  const { t } = useTranslation();
  const live = useLive(job.jobId);
  const cancel = useCancelJob();
  const before = usePicture(pixels, frame);
  const [chosen, choose] = useState(0);
  const image = job.state === JobState.COMPLETED ? job.images[chosen] : undefined;
  const preview = live?.previews.at(-1);
  return (
    <section
      aria-label={t("editor.result")}
      data-state={JobState[job.state]}
      className="absolute inset-0 flex flex-col bg-canvas"
    >
      <div className="relative min-h-0 flex-1">
        {image && before && <Compare before={before} after={image.url} alt={promptOf(job)} />}
        {!image && (preview ?? before) && (
          <img
            src={preview ?? before}
            alt=""
            className={preview ? "size-full object-contain" : "size-full object-contain opacity-50"}
          />
        )}
      </div>
      <ProgressBar job={job} live={live} />
      <div className="flex flex-wrap items-center gap-2 border-t border-line bg-surface p-2">
        {job.images.length > 1 &&
          job.images.map(({ imageId, url }, index) => (
            <button
              key={imageId}
              type="button"
              aria-label={t("editor.variant", { number: index + 1 })}
              aria-pressed={index === chosen}
              onClick={() => choose(index)}
              className="size-10 overflow-hidden rounded-md border-2 border-transparent aria-pressed:border-accent"
            >
              <img src={url} alt="" className="size-full object-cover" />
            </button>
          ))}
        <span className="flex-1 text-sm text-muted tabular-nums" aria-live="polite">
          <JobStatus job={job} live={live} />
        </span>
        {isTerminal(job.state) ? (
          <>
            {image && (
              <Link
                to="/edit/$imageId"
                params={{ imageId: image.imageId }}
                className="inline-flex h-9 items-center rounded-lg border border-line bg-raised px-3.5 font-medium"
              >
                {t("editor.goOn")}
              </Link>
            )}
            <Button kind="primary" onClick={onClose}>
              {t("editor.back")}
            </Button>
          </>
        ) : (
          <IconButton
            label={t("queue.cancel")}
            disabled={cancel.isPending}
            onClick={() => cancel.mutate(job.jobId)}
          >
            <X className="size-4" aria-hidden />
          </IconButton>
        )}
      </div>
    </section>
  );
}

/** The address of the picture as the job began with it, for as long as it is shown. */
function usePicture(pixels: ImageBitmap, frame: Frame): string | undefined {
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    let made = "";
    let isGone = false;
    void grownFile(pixels, frame).then((file) => {
      if (isGone) return;
      made = URL.createObjectURL(file);
      setUrl(made);
    });
    return () => {
      isGone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [pixels, frame]);
  return url;
}
