import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { usage } from "@/api/usage";
import { useProblemText } from "@/app/useProblem";
import { Field, Notice, Select } from "@/components/ui";
import type { Usage } from "@/gen/pingvas/generation/v1/usage_service_pb";
import { DayChart } from "./DayChart";
import { byDay, byModel, MEASURES, type Measure, successRate } from "./usage";

const SPANS = [7, 30, 90] as const;

/** What this person's jobs have used, by day and by model. */
export function UsagePage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const [dayCount, setDayCount] = useState<number>(30);
  const [measure, setMeasure] = useState<Measure>("credits");
  const { data, error } = useQuery({
    queryKey: ["usage", dayCount],
    queryFn: () => usage.getMyUsage({ dayCount, utcOffsetMinutes: -new Date().getTimezoneOffset() }),
  });

  return (
    <div className="h-full overflow-y-auto p-6">
      <div className="mx-auto flex max-w-3xl flex-col gap-6">
        <Link to="/account" className="self-start text-sm text-muted underline">
          {t("account.title")}
        </Link>
        <h2 className="text-2xl font-semibold tracking-tight">{t("usage.title")}</h2>
        <div className="flex flex-wrap gap-4">
          <Field label={t("usage.span")}>
            {(ids) => (
              <Select {...ids} value={dayCount} onChange={(event) => setDayCount(Number(event.target.value))}>
                {SPANS.map((days) => (
                  <option key={days} value={days}>
                    {t("usage.days", { count: days })}
                  </option>
                ))}
              </Select>
            )}
          </Field>
          <Field label={t("usage.measure")}>
            {(ids) => (
              <Select
                {...ids}
                value={measure}
                onChange={(event) => setMeasure(event.target.value as Measure)}
              >
                {MEASURES.map((each) => (
                  <option key={each} value={each}>
                    {t(`usageMeasure.${each}`)}
                  </option>
                ))}
              </Select>
            )}
          </Field>
        </div>
        {error && <Notice>{text(error)}</Notice>}
        {data && <Facts usage={data} />}
        {data && <Figures usage={data} measure={measure} />}
      </div>
    </div>
  );
}

/** How jobs ended and how long they waited, in three figures. */
function Facts({ usage }: { usage: Usage }) {
  const { t, i18n } = useTranslation();
  const share = new Intl.NumberFormat(i18n.language, { style: "percent", maximumFractionDigits: 1 });
  const seconds = new Intl.NumberFormat(i18n.language, {
    style: "unit",
    unit: "second",
    maximumFractionDigits: 1,
  });
  const told = (wait?: number) => (wait === undefined ? undefined : seconds.format(wait));
  const rate = successRate(usage);
  const facts: [string, string | undefined][] = [
    [t("usage.succeeded"), rate === undefined ? undefined : share.format(rate)],
    [t("usage.medianWait"), told(usage.medianWaitSeconds)],
    [t("usage.p90Wait"), told(usage.p90WaitSeconds)],
  ];
  if (facts.every(([, value]) => value === undefined)) return null;
  return (
    <dl className="grid grid-cols-1 gap-3 sm:grid-cols-3">
      {facts.map(([name, value]) => (
        <div key={name} className="rounded-2xl border border-line bg-surface px-4 py-3">
          <dt className="text-sm text-muted">{name}</dt>
          <dd className="text-xl font-semibold tabular-nums">{value ?? "–"}</dd>
        </div>
      ))}
    </dl>
  );
}

function Figures({ usage: { firstDay, lastDay, models }, measure }: { usage: Usage; measure: Measure }) {
  const { t, i18n } = useTranslation();
  const days = useMemo(() => byDay(firstDay, lastDay, models, measure), [firstDay, lastDay, models, measure]);
  const numbers = new Intl.NumberFormat(i18n.language, { maximumFractionDigits: 3 });
  if (models.length === 0) return <p className="text-muted">{t("usage.none")}</p>;
  return (
    <>
      <DayChart
        label={t(`usageMeasure.${measure}`)}
        days={days}
        language={i18n.language}
        isWhole={measure !== "credits"}
      />
      <table className="w-full text-sm tabular-nums">
        <caption className="sr-only">{t("usage.byModel")}</caption>
        <thead>
          <tr className="border-b border-line text-muted">
            <th scope="col" className="py-2 text-left font-medium">
              {t("usage.model")}
            </th>
            {MEASURES.map((each) => (
              <th key={each} scope="col" className="text-right font-medium">
                {t(`usageMeasure.${each}`)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {byModel(models).map((model) => (
            <tr key={model.modelId} className="border-b border-line">
              <th scope="row" className="py-2 text-left font-normal break-all">
                {model.modelId}
              </th>
              {MEASURES.map((each) => (
                <td key={each} className="text-right">
                  {numbers.format(model[each])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
