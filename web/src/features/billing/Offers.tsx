import clsx from "clsx";
import { Check } from "lucide-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { Pack, Plan } from "@/gen/pingvas/payment/v1/subscription_pb";
import { usePacks, usePlans } from "./billing";
import { creditsText, priceText } from "./money";

const GIBIBYTE = 2 ** 30;

/** The plans side by side; `action` is what is under each. */
export function Plans({ present, action }: { present?: string; action: (plan: Plan) => ReactNode }) {
  const { data: plans } = usePlans();
  const { t } = useTranslation();
  return (
    <ul aria-label={t("billing.plans")} className="grid gap-3 sm:grid-cols-2 xl:grid-cols-5">
      {plans?.map((plan) => (
        <li
          key={plan.planId}
          data-plan={plan.planId}
          className={clsx(
            "flex flex-col gap-3 rounded-2xl border bg-surface p-5",
            plan.planId === present ? "border-accent" : "border-line",
          )}
        >
          <h3 className="text-lg font-semibold capitalize">{plan.planId}</h3>
          <PlanPrice plan={plan} />
          <PlanLimits plan={plan} />
          <div className="mt-auto pt-2">{action(plan)}</div>
        </li>
      ))}
    </ul>
  );
}

function PlanPrice({ plan }: { plan: Plan }) {
  const { t, i18n } = useTranslation();
  if (plan.priceCents === undefined) return <p className="text-xl">{t("billing.byContract")}</p>;
  return (
    <p>
      <span className="text-2xl font-semibold tabular-nums">
        {priceText(plan.priceCents, plan.currency, i18n.language)}
      </span>{" "}
      <span className="text-muted">{t("billing.aMonth")}</span>
    </p>
  );
}

function PlanLimits({ plan }: { plan: Plan }) {
  const { t, i18n } = useTranslation();
  const { limits } = plan;
  const lines = [
    plan.priceCents ? t("billing.monthlyCredits", { amount: creditsText(plan.credits, i18n.language) }) : "",
    limits && t("billing.largestSide", { side: limits.largestSidePx }),
    limits && t("billing.runningJobs", { count: limits.runningJobs }),
    limits && t("billing.storage", { amount: Number(limits.storageBytes) / GIBIBYTE }),
    limits && t("billing.models", { families: limits.modelFamilies.join(", ") }),
  ].filter(Boolean);
  return (
    <ul className="flex flex-col gap-1.5 text-sm text-muted">
      {lines.map((line) => (
        <li key={line} className="flex gap-2">
          <Check className="mt-0.5 size-4 shrink-0 text-good" aria-hidden />
          {line}
        </li>
      ))}
    </ul>
  );
}

export function Packs({ action }: { action: (pack: Pack) => ReactNode }) {
  const { data: packs } = usePacks();
  const { t, i18n } = useTranslation();
  return (
    <ul aria-label={t("billing.packs")} className="grid gap-3 sm:grid-cols-3">
      {packs?.map((pack) => (
        <li
          key={pack.packId}
          data-pack={pack.packId}
          className="flex items-center gap-3 rounded-2xl border border-line bg-surface p-4"
        >
          <span className="flex-1">
            <span className="block font-medium tabular-nums">
              {t("app.credits", { amount: creditsText(pack.credits, i18n.language) })}
            </span>
            <span className="text-sm text-muted">
              {priceText(pack.priceCents, pack.currency, i18n.language)}
            </span>
          </span>
          {action(pack)}
        </li>
      ))}
    </ul>
  );
}
