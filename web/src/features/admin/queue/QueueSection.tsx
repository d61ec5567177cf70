import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { operations } from "@/api/admin";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import type { Queue } from "@/gen/pingvas/generation/v1/operator_service_pb";
import { Refusal } from "../Refusal";
import { elapsed } from "./elapsed";
import { Pause } from "./Pause";
import { Workers } from "./Workers";

const AGAIN_MS = 2000;

/** How much waits and runs now, and who works on it. */
export function QueueSection() {
  const { t } = useTranslation();
  const { data, error } = useQuery({
    queryKey: ["admin", "queue"],
    queryFn: () => operations.getQueue({}),
    refetchInterval: AGAIN_MS,
    staleTime: 0,
  });
  return (
    <div className="flex flex-col gap-8">
      <section className="flex flex-col gap-3">
        <h3 className="text-lg font-semibold">{t("admin.queue")}</h3>
        <Refusal error={error} />
        {data && <Tiers queue={data} />}
      </section>
      <section className="flex flex-col gap-3">
        <h3 className="text-lg font-semibold">{t("admin.workers")}</h3>
        <Workers />
      </section>
    </div>
  );
}

function Tiers({ queue }: { queue: Queue }) {
  const { t, i18n } = useTranslation();
  const numbers = new Intl.NumberFormat(i18n.language, { maximumFractionDigits: 1 });
  const columns = ["waiting", "running", "work", "oldest"] as const;
  return (
    <div className="overflow-x-auto rounded-2xl border border-line bg-surface">
      <table className="w-full text-sm tabular-nums">
        <caption className="sr-only">{t("admin.queue")}</caption>
        <thead>
          <tr className="border-b border-line text-muted">
            <th scope="col" className="px-5 py-3 text-left font-medium">
              {t("admin.tier")}
            </th>
            {columns.map((name) => (
              <th key={name} scope="col" className="px-5 py-3 text-right font-medium">
                {t(`queueColumn.${name}`)}
              </th>
            ))}
            <th scope="col" className="px-5 py-3 text-left font-medium">
              {t("queueColumn.pause")}
            </th>
          </tr>
        </thead>
        <tbody className="divide-y divide-line">
          {queue.tiers.map((tier) => (
            <tr key={tier.tier} className={tier.waitingCount + tier.runningCount === 0 ? "text-muted" : ""}>
              <th scope="row" className="px-5 py-3 text-left font-medium">
                {t(`tierName.${Tier[tier.tier]}`)}
              </th>
              <td className="px-5 text-right">{numbers.format(tier.waitingCount)}</td>
              <td className="px-5 text-right">{numbers.format(tier.runningCount)}</td>
              <td className="px-5 text-right">{numbers.format(tier.waitingGpuSeconds)}</td>
              <td className="px-5 text-right">
                {tier.oldestCreateTime
                  ? elapsed(timestampDate(tier.oldestCreateTime), new Date(), i18n.language)
                  : "–"}
              </td>
              <td className="px-5 py-2">
                <Pause tier={tier} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
