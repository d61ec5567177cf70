import { useTranslation } from "react-i18next";
import { GrantKind } from "@/gen/pingvas/payment/v1/credit_service_pb";
import { useBalance } from "./billing";
import { Download } from "./Download";
import { Movements } from "./Movements";
import { creditsText, dayText } from "./money";
import { Section } from "./Section";
import { exportBalance } from "./statement";

export function CreditsSection() {
  const { t, i18n } = useTranslation();
  const { data: balance } = useBalance();
  const amount = (text: string) => creditsText(text, i18n.language);
  if (!balance) return null;
  return (
    <Section title={t("billing.credits")}>
      <ul aria-label={t("billing.credits")} className="flex flex-wrap gap-3">
        {balance.grants.map((grant) => (
          <li key={grant.grantId} className="rounded-xl border border-line bg-surface px-4 py-3">
            <span className="block font-medium tabular-nums">
              {t("billing.amountOf", { left: amount(grant.remaining), all: amount(grant.amount) })}
            </span>
            <span className="text-sm text-muted">
              {t(`grantKind.${GrantKind[grant.kind]}`)}
              {grant.expireTime &&
                ` · ${t("billing.until", { day: dayText(grant.expireTime, i18n.language) })}`}
            </span>
          </li>
        ))}
      </ul>
      {balance.grants.length > 0 && (
        <Download name="credits.csv" text={exportBalance}>
          {t("billing.balanceCsv")}
        </Download>
      )}
      <Movements />
    </Section>
  );
}
