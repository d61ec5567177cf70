import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { SearchX } from "lucide-react";
import { lazy, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { useAhead } from "@/app/useAhead";
import { useProblemText } from "@/app/useProblem";
import { Empty, Input, Notice, Select } from "@/components/ui";
import { useFamiliesElsewhere, useModels } from "@/features/generate/models";
import type { Model } from "@/gen/pingvas/models/v1/model_pb";
import { type ModelFilter, matching, modelFilter, OPERATIONS, type OperationName } from "./filter";
import { ModelCard } from "./ModelCard";

const OwnLoras = lazy(() => import("./OwnLoras"));
const route = getRouteApi("/inside/models");

/** The catalogue: what there is to draw with, and what other plans have beyond it. */
export function ModelsPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const { data: models, error } = useModels();
  const filter = route.useSearch();
  const shown = models && matching(models, filter);
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto flex max-w-7xl flex-col gap-5 p-4 md:p-6">
        <h2 className="text-xl font-semibold">{t("models.title")}</h2>
        <Filters filter={filter} families={familiesOf(models ?? [])} />
        {error && <Notice>{text(error)}</Notice>}
        <Elsewhere />
        <Suspense>{models && <OwnLoras families={familiesOf(models)} />}</Suspense>
        {shown?.length === 0 && (
          <Empty icon={<SearchX className="size-7" aria-hidden />} title={t("models.noneFound")} />
        )}
        <ul className="grid grid-cols-[repeat(auto-fill,minmax(min(100%,20rem),1fr))] gap-4">
          {shown?.map((model) => (
            <ModelCard key={model.modelId} model={model} />
          ))}
        </ul>
      </div>
    </div>
  );
}

function familiesOf(models: readonly Model[]): string[] {
  return [...new Set(models.map(({ family }) => family))].sort();
}

/** What the address keeps. */
function Filters({ filter, families }: { filter: ModelFilter; families: string[] }) {
  const { t } = useTranslation();
  const navigate = useNavigate({ from: "/models" });
  const [query, setQuery] = useAhead(filter.q ?? "");
  const narrow = (change: Partial<Record<keyof ModelFilter, string>>) =>
    void navigate({ search: modelFilter({ ...filter, q: query, ...change }), replace: true });
  return (
    <search className="flex flex-wrap gap-2">
      <Input
        type="search"
        value={query}
        maxLength={100}
        aria-label={t("models.search")}
        placeholder={t("models.search")}
        className="h-9 w-72!"
        onChange={(event) => {
          setQuery(event.target.value);
          narrow({ q: event.target.value });
        }}
      />
      <Choice
        label={t("models.kind")}
        value={filter.kind}
        options={{ checkpoint: t("models.checkpoints"), lora: t("generate.loras") }}
        onChange={(kind) => narrow({ kind })}
      />
      <Choice
        label={t("models.family")}
        value={filter.family}
        options={Object.fromEntries(families.map((family) => [family, family]))}
        onChange={(family) => narrow({ family })}
      />
      <Choice
        label={t("models.can")}
        value={filter.operation}
        options={Object.fromEntries(
          (Object.keys(OPERATIONS) as OperationName[]).map((name) => [name, t(`operation.${name}`)]),
        )}
        onChange={(operation) => narrow({ operation })}
      />
    </search>
  );
}

function Choice({
  label,
  value = "",
  options,
  onChange,
}: {
  label: string;
  value: string | undefined;
  options: Record<string, string>;
  onChange: (value: string) => void;
}) {
  const { t } = useTranslation();
  return (
    <Select
      aria-label={label}
      value={value}
      className="w-auto!"
      onChange={(event) => onChange(event.target.value)}
    >
      <option value="">{t("models.any", { what: label })}</option>
      {Object.entries(options).map(([name, shown]) => (
        <option key={name} value={name}>
          {shown}
        </option>
      ))}
    </Select>
  );
}

/** What the plan lacks, and which one has it. */
function Elsewhere() {
  const { t } = useTranslation();
  const elsewhere = useFamiliesElsewhere();
  if (elsewhere.length === 0) return null;
  return (
    <section
      aria-label={t("generate.lacks", { count: elsewhere.length })}
      className="rounded-xl border border-line bg-raised p-4 text-sm"
    >
      <h3 className="font-medium">{t("generate.lacks", { count: elsewhere.length })}</h3>
      <ul className="mt-1 flex flex-wrap gap-x-4 text-muted">
        {elsewhere.map(({ family, planId }) => (
          <li key={family}>{t("generate.lacksFamily", { family, plan: planId })}</li>
        ))}
      </ul>
      <Link to="/billing" className="mt-1 inline-block text-accent underline">
        {t("billing.plans")}
      </Link>
    </section>
  );
}
