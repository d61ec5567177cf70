import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Cpu } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { operations } from "@/api/admin";
import { Button } from "@/components/ui";
import type { Worker } from "@/gen/pingvas/generation/v1/operator_service_pb";
import { Refusal } from "../Refusal";
import { elapsed } from "./elapsed";

const AGAIN_MS = 2000;
/** More than a deployment that one looks at in a table has; the API has further pages. */
const PAGE = 200;
const GIB = 2 ** 30;

/** Who works: with which models, how much memory, and on what. */
export function Workers() {
  const { t } = useTranslation();
  const { data, error } = useQuery({
    queryKey: ["admin", "workers"],
    queryFn: () => operations.listWorkers({ pageSize: PAGE }),
    refetchInterval: AGAIN_MS,
    staleTime: 0,
  });
  return (
    <>
      <Refusal error={error} />
      {data?.workers.length === 0 && <p className="text-muted">{t("admin.noWorkers")}</p>}
      <ul className="grid gap-4 md:grid-cols-2">
        {data?.workers.map((worker) => (
          // One that was drained comes back under its name, and takes jobs again.
          <WorkerCard key={`${worker.workerId} ${worker.startTime?.seconds}`} worker={worker} />
        ))}
      </ul>
    </>
  );
}

function WorkerCard({ worker }: { worker: Worker }) {
  const { t, i18n } = useTranslation();
  const [isSure, setSure] = useState(false);
  const drain = useMutation({ mutationFn: () => operations.drainWorker({ workerId: worker.workerId }) });
  const since = worker.startTime && elapsed(timestampDate(worker.startTime), new Date(), i18n.language);
  return (
    <li className="flex flex-col gap-3 rounded-2xl border border-line bg-surface p-5">
      <div className="flex items-center gap-3">
        <Cpu className="size-5 text-muted" aria-hidden />
        <h4 className="min-w-0 flex-1 truncate font-medium">{worker.workerId}</h4>
        <span className="text-sm text-muted">{t("admin.workerSince", { time: since })}</span>
      </div>
      <p className="text-sm break-all">
        {worker.loadedModelIds.length > 0 ? worker.loadedModelIds.join(", ") : t("admin.noModel")}
      </p>
      <Memory used={Number(worker.memoryUsedBytes)} all={Number(worker.memoryBytes)} />
      <p className="text-sm text-muted">
        {worker.jobIds.length > 0 ? t("admin.worksOn") : t("admin.lastJob")}{" "}
        {(worker.jobIds.length > 0 ? worker.jobIds : [worker.lastJobId]).map((jobId) =>
          jobId ? <JobLink key={jobId} jobId={jobId} /> : <span key="none">–</span>,
        )}
      </p>
      <Refusal error={drain.error} />
      {drain.isSuccess ? (
        <p role="status" className="text-sm">
          {t("admin.drained")}
        </p>
      ) : (
        <Button
          kind="danger"
          className="self-start"
          disabled={drain.isPending}
          onClick={() => (isSure ? drain.mutate() : setSure(true))}
        >
          {isSure ? t("admin.drainSure") : t("admin.drain")}
        </Button>
      )}
    </li>
  );
}

function Memory({ used, all }: { used: number; all: number }) {
  const { t, i18n } = useTranslation();
  if (all === 0) return null;
  const gibibytes = (bytes: number) =>
    (bytes / GIB).toLocaleString(i18n.language, { maximumFractionDigits: 1 });
  return (
    <div className="flex flex-col gap-1">
      <meter
        className="w-full"
        aria-label={t("admin.memory")}
        max={all}
        high={all * 0.9}
        optimum={0}
        value={used}
      />
      <span className="text-sm text-muted tabular-nums">
        {t("admin.memoryOf", { used: gibibytes(used), all: gibibytes(all) })}
      </span>
    </div>
  );
}

function JobLink({ jobId }: { jobId: string }) {
  return (
    <Link
      to="/admin/$section"
      params={{ section: "jobs" }}
      search={{ find: jobId }}
      className="mr-2 font-mono break-all underline"
    >
      {jobId}
    </Link>
  );
}
