/** How far a job is, from its events. */

import { type JobEvent, JobStage } from "./gen/pingvas/generation/v1/job_event_pb.js";

export type Stage =
  | "waiting"
  | "fetching the model"
  | "loading the model"
  | "drawing"
  | "done"
  | "failed"
  | "cancelled";

export interface Progress {
  jobId: string;
  stage: Stage;
  /** 0 to 100. */
  percent: number;
  step: number;
  stepCount: number;
  /** While it waits, until it starts; while it draws, until its last step. */
  secondsLeft: number;
  /** How many jobs are before it. */
  position: number;
  /** A small JPEG of the picture so far. */
  preview: Uint8Array | undefined;
}

const STAGES: Partial<Record<JobStage, Stage>> = {
  [JobStage.FETCHING_MODEL]: "fetching the model",
  [JobStage.LOADING_MODEL]: "loading the model",
};

/** Reads an event. */
export function progressOf(event: JobEvent): Progress {
  const start: Progress = {
    jobId: event.jobId,
    stage: "drawing",
    percent: 0,
    step: 0,
    stepCount: 0,
    secondsLeft: 0,
    position: 0,
    preview: undefined,
  };
  switch (event.detail.case) {
    case "queued": {
      const { position, estimatedWaitSeconds } = event.detail.value;
      return { ...start, stage: "waiting", position, secondsLeft: estimatedWaitSeconds };
    }
    case "progress": {
      const { stage, percent, step, stepCount, secondsLeft, previewJpeg } = event.detail.value;
      const preview = previewJpeg.length ? previewJpeg : undefined;
      return { ...start, stage: STAGES[stage] ?? "drawing", percent, step, stepCount, secondsLeft, preview };
    }
    case "completed":
      return { ...start, stage: "done", percent: 100 };
    case "failed":
    case "cancelled":
      return { ...start, stage: event.detail.case };
    default:
      return start;
  }
}
