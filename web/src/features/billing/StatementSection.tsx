import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { credits } from "@/api/clients";
import { Select } from "@/components/ui";
import type { StatementTotals } from "@/gen/pingvas/payment/v1/statement_pb";
import { creditsText } from "./money";
import { Section } from "./Section";
import { latestMonths } from "./statement";

const GIVEN = ["promotional", "plan", "purchased"] as const;
const TAKEN = ["charged", "lapsed", "revoked"] as const;
const MONTHS = 12;

/** What a month did to the credits, altogether and day by day. */
export function StatementSection() {
  const { t, i18n } = useTranslation();
  const months = latestMonths(new Date(), MONTHS);
  const [month, setMonth] = useState(months[0] ?? "");
  const { data: found } = useQuery({
    queryKey: ["statement", month],
    queryFn: () => credits.getStatement({ month }),
  });
  const amount = (text: string) => creditsText(text, i18n.language);
  const name = (each: string) =>
    new Date(`${each}-15T00:00Z`).toLocaleDateString(i18n.language, { year: "numeric", month: "long" });
  const parts = (totals: StatementTotals | undefined) =>
    totals &&
    [...GIVEN, ...TAKEN]
      .filter((kind) => Number(totals[kind]) !== 0)
      .map((kind) => t(`statement.${kind}`, { amount: amount(totals[kind]) }))
      .join(" · ");
  return (
    <Section title={t("statement.title")} hint={t("statement.hint")}>
      <div className="w-56">
        <Select
          aria-label={t("statement.month")}
          value={month}
          onChange={(event) => setMonth(event.target.value)}
        >
          {months.map((each) => (
            <option key={each} value={each}>
              {name(each)}
            </option>
          ))}
        </Select>
      </div>
      {found && (
        <table className="w-full text-sm tabular-nums">
          <caption className="sr-only">{t("statement.of", { month: name(month) })}</caption>
          <tbody>
            <Line label={t("statement.opening")} value={amount(found.opening)} />
            {found.days.map((day) => (
              <Line key={day.date} label={day.date} note={parts(day.totals)} />
            ))}
            <Line label={t("statement.closing")} note={parts(found.totals)} value={amount(found.closing)} />
          </tbody>
        </table>
      )}
    </Section>
  );
}

function Line({
  label,
  note,
  value,
}: {
  label: string;
  note?: string | undefined;
  value?: string | undefined;
}) {
  return (
    <tr className="border-b border-line">
      <td className="py-2 text-muted">{label}</td>
      <td>{note}</td>
      <td className="text-right">{value}</td>
    </tr>
  );
}
