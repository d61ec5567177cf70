import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { operations } from "@/api/admin";
import { models } from "@/api/clients";
import { MoreButton } from "@/components/ui";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import { type Model, ModelKind } from "@/gen/pingvas/models/v1/model_pb";
import { Refusal } from "./Refusal";

const AGAIN_MS = 5000;
const PAGE = 100;
/** More than a deployment that one looks at in a table has; the API has further pages. */
const WORKERS = 200;
const GB = 1e9;

/** What is in the catalogue, and which workers have it in memory. */
export function ModelsSection() {
  const { t } = useTranslation();
  const listing = useInfiniteQuery({
    queryKey: ["admin", "models"],
    queryFn: ({ pageParam }) => models.listModels({ pageSize: PAGE, pageToken: pageParam }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: 0,
  });
  const workers = useQuery({
    queryKey: ["admin", "workers"],
    queryFn: () => operations.listWorkers({ pageSize: WORKERS }),
    refetchInterval: AGAIN_MS,
    staleTime: 0,
  });
  const listed = listing.data?.pages.flatMap((page) => page.models.filter((model) => !model.isOwn)) ?? [];
  const loadedOn = (modelId: string) =>
    workers.data?.workers.filter((worker) => worker.loadedModelIds.includes(modelId)) ?? [];
  return (
    <section className="flex flex-col gap-4">
      <p className="max-w-prose text-muted">{t("catalogue.hint")}</p>
      <Refusal error={listing.error ?? workers.error} />
      <div className="overflow-x-auto rounded-2xl border border-line bg-surface">
        <table className="w-full text-sm">
          <caption className="sr-only">{t("adminSection.models")}</caption>
          <thead>
            <tr className="border-b border-line text-left text-muted">
              {(["model", "kind", "revision", "licence", "tier", "size", "workers"] as const).map((name) => (
                <th key={name} scope="col" className="px-5 py-3 font-medium whitespace-nowrap">
                  {t(`catalogueColumn.${name}`)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody className="divide-y divide-line">
            {listed.map((model) => (
              <Row
                key={model.modelId}
                model={model}
                workerIds={loadedOn(model.modelId).map(({ workerId }) => workerId)}
              />
            ))}
          </tbody>
        </table>
      </div>
      <MoreButton listing={listing}>{t("admin.more")}</MoreButton>
    </section>
  );
}

function Row({ model, workerIds }: { model: Model; workerIds: string[] }) {
  const { t, i18n } = useTranslation();
  const sizes = new Intl.NumberFormat(i18n.language, {
    style: "unit",
    unit: "gigabyte",
    maximumSignificantDigits: 2,
  });
  return (
    <tr>
      <th scope="row" className="px-5 py-3 text-left font-normal">
        <span className="block font-medium">{model.displayName}</span>
        <span className="block font-mono text-muted">{model.modelId}</span>
      </th>
      <td className="px-5 whitespace-nowrap">
        {model.kind === ModelKind.LORA ? t("catalogue.lora") : t("catalogue.checkpoint")} · {model.family}
      </td>
      <td className="px-5 font-mono">{model.revision}</td>
      <td className="px-5">{model.licence}</td>
      <td className="px-5">{t(`tierName.${Tier[model.minimumTier]}`)}</td>
      <td className="px-5 whitespace-nowrap tabular-nums">{sizes.format(Number(model.sizeBytes) / GB)}</td>
      <td className="px-5">{workerIds.length > 0 ? workerIds.join(", ") : "–"}</td>
    </tr>
  );
}
