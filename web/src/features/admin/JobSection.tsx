import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { operations } from "@/api/admin";
import { Button } from "@/components/ui";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import { JobState } from "@/gen/pingvas/generation/v1/job_pb";
import type { JobRecord } from "@/gen/pingvas/generation/v1/operator_service_pb";
import { Finder } from "./Finder";
import { Refusal } from "./Refusal";

const AGAIN_MS = 2000;

const route = getRouteApi("/inside/admin/$section");

/** A job of anybody, by its id: what it is and what happened to it. */
export function JobSection() {
  const { t } = useTranslation();
  const { find = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const { data, error } = useQuery({
    queryKey: ["admin", "job", find],
    queryFn: () => operations.getJobRecord({ jobId: find }),
    enabled: find !== "",
    refetchInterval: ({ state }) => (state.data && !state.data.endTime ? AGAIN_MS : false),
    staleTime: 0,
  });
  return (
    <section className="flex flex-col gap-6">
      <Finder
        label={t("admin.jobId")}
        value={find}
        onFind={(text) => void navigate({ search: { find: text } })}
      />
      <Refusal error={error} />
      {data && <Found job={data} />}
    </section>
  );
}

function Found({ job }: { job: JobRecord }) {
  const { t } = useTranslation();
  const facts: [string, ReactNode][] = [
    [t("admin.state"), t(`adminJobState.${JobState[job.state]}`)],
    ...(job.failureReason ? [[t("admin.failure"), job.failureReason] as [string, ReactNode]] : []),
    [
      t("admin.account"),
      <Link
        key="account"
        to="/admin/$section"
        params={{ section: "people" }}
        search={{ find: job.accountId }}
        className="underline"
      >
        {job.accountId}
      </Link>,
    ],
    [t("admin.tier"), t(`tierName.${Tier[job.tier]}`)],
    [t("admin.operation"), job.operation],
    [t("admin.model"), job.modelId],
    [t("admin.quoted"), job.creditsQuoted],
    [t("admin.held"), job.creditsHeld],
    [t("admin.used"), job.creditsUsed || "–"],
  ];
  return (
    <div className="grid gap-6 lg:grid-cols-2">
      <dl className="grid content-start gap-x-6 gap-y-2 rounded-2xl border border-line bg-surface p-5 sm:grid-cols-[auto_1fr]">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-sm text-muted">{name}</dt>
            <dd className="break-all">{value}</dd>
          </div>
        ))}
      </dl>
      <div className="flex flex-col gap-4">
        <Happenings job={job} />
        {job.state === JobState.RUNNING && <TakeBack jobId={job.jobId} />}
      </div>
    </div>
  );
}

/** Takes a running job away from its worker. */
function TakeBack({ jobId }: { jobId: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [isSure, setSure] = useState(false);
  const requeue = useMutation({
    mutationFn: () => operations.requeueJob({ jobId }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["admin", "job", jobId] }),
  });
  return (
    <section className="flex flex-col gap-3 rounded-2xl border border-line bg-surface p-5">
      <p className="text-sm text-muted">{t("admin.requeueHint")}</p>
      <Refusal error={requeue.error} />
      <Button
        kind="danger"
        className="self-start"
        disabled={requeue.isPending}
        onClick={() => (isSure ? requeue.mutate() : setSure(true))}
      >
        {isSure ? t("admin.requeueSure") : t("admin.requeue")}
      </Button>
    </section>
  );
}

/** What happened to a job, in its order. */
function Happenings({ job }: { job: JobRecord }) {
  const { t, i18n } = useTranslation();
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "short", timeStyle: "medium" });
  const events: { what: string; time: Timestamp | undefined }[] = [
    { what: t("admin.accepted"), time: job.createTime },
    ...job.attempts.flatMap(({ attempt, workerId, outcome, startTime, endTime }) => [
      { what: t("admin.attemptBegan", { attempt, worker: workerId }), time: startTime },
      ...(endTime
        ? [{ what: t("admin.attemptEnded", { attempt, outcome: t(`outcome.${outcome}`) }), time: endTime }]
        : []),
    ]),
    ...(job.endTime
      ? [{ what: t(`adminJobState.${JobState[job.state]}`), time: job.endTime }]
      : [{ what: t("admin.deadline"), time: job.deadlineTime }]),
  ];
  return (
    <section aria-label={t("admin.events")} className="rounded-2xl border border-line bg-surface p-5">
      <h3 className="mb-3 font-medium text-muted">{t("admin.events")}</h3>
      <ol className="flex flex-col gap-3 border-l-2 border-line pl-4">
        {events.map(({ what, time }) => (
          <li key={what}>
            <span className="block">{what}</span>
            <span className="block text-sm text-muted tabular-nums">
              {time && times.format(timestampDate(time))}
            </span>
          </li>
        ))}
      </ol>
      {job.progress && (
        <div className="mt-4 flex flex-col gap-1.5">
          <progress
            className="w-full accent-accent"
            aria-label={t("admin.progress")}
            max={100}
            value={job.progress.percent}
          />
          <p className="text-sm text-muted tabular-nums">
            {t("admin.step", { step: job.progress.step, count: job.progress.stepCount })}
          </p>
        </div>
      )}
    </section>
  );
}
