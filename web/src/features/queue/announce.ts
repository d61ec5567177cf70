/** Tells that a job has ended to somebody who looks at another page: in the title, and by the browser if it may. */

import i18next from "i18next";
import { type Job, JobState } from "@/gen/pingvas/generation/v1/job_pb";

const LONGEST = 120;

let titleBefore: string | undefined;

export function canAskToTell(): boolean {
  return "Notification" in window && Notification.permission === "default";
}

export async function askToTell(): Promise<void> {
  await Notification.requestPermission();
}

/** A job that was cancelled ended because somebody wanted it to; of that nobody needs to be told. */
export function announce(job: Job, state: JobState): void {
  if (!document.hidden || state === JobState.CANCELLED) return;
  const news = state === JobState.COMPLETED ? i18next.t("queue.done") : i18next.t("queue.endedBadly");
  if (titleBefore === undefined) {
    titleBefore = document.title;
    document.addEventListener("visibilitychange", restoreTitle);
  }
  document.title = `${news} · ${titleBefore}`;
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  try {
    // One notification for each job, however many pages are open.
    const shown = new Notification(news, {
      body: job.operation.value?.prompt.slice(0, LONGEST) ?? "",
      tag: job.jobId,
    });
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  } catch {
    // Phones have them from service workers only; the title has told it.
  }
}

function restoreTitle(): void {
  if (document.hidden || titleBefore === undefined) return;
  document.title = titleBefore;
  titleBefore = undefined;
  document.removeEventListener("visibilitychange", restoreTitle);
}
