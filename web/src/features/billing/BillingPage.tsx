import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { subscriptions } from "@/api/subscriptions";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { type Plan, SubscriptionState } from "@/gen/pingvas/payment/v1/subscription_pb";
import {
  useBalance,
  useCheckout,
  useInvoices,
  usePlans,
  usePortal,
  useSubscription,
  useSubscriptionChange,
} from "./billing";
import { CreditsSection } from "./CreditsSection";
import { EnterpriseRequest } from "./EnterpriseRequest";
import { InvoicesSection } from "./InvoicesSection";
import { dayText } from "./money";
import { NoticesSection } from "./NoticesSection";
import { Packs, Plans } from "./Offers";
import { Section } from "./Section";
import { StatementSection } from "./StatementSection";
import { StorageWarning } from "./StorageWarning";
import { EVERYTHING, useTransactions } from "./statement";

const route = getRouteApi("/inside/billing");

export function BillingPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const { paid } = route.useSearch();
  const isExpected = paid === true;
  const checkout = useCheckout();
  const change = useSubscriptionChange();
  const portal = usePortal();
  const [isAsking, setIsAsking] = useState(false);
  // The same queries as below, asked for more often while a payment is expected.
  useBalance({ isExpected });
  useInvoices({ isExpected });
  useTransactions(EVERYTHING, { isExpected });
  const failure = checkout.error ?? change.error ?? portal.error;

  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto flex max-w-7xl flex-col gap-8 p-4 md:p-8">
        <h2 className="text-2xl font-semibold tracking-tight">{t("billing.title")}</h2>
        {isExpected && <Notice tone="plain">{t("billing.paid")}</Notice>}
        {failure && <Notice>{text(failure)}</Notice>}
        <StorageWarning />
        <PresentPlan isExpected={isExpected} change={change} onPortal={() => portal.mutate()} />
        <Section title={t("billing.plans")}>
          <OwnPlans
            change={change}
            onSubscribe={(planId) => checkout.mutate({ case: "planId", value: planId })}
            onAsk={() => setIsAsking(true)}
          />
        </Section>
        {isAsking && <EnterpriseRequest />}
        <Section title={t("billing.packs")} hint={t("billing.packsLast")}>
          <Packs
            action={(pack) =>
              pack.isSold && (
                <Button
                  disabled={checkout.isPending}
                  onClick={() => checkout.mutate({ case: "packId", value: pack.packId })}
                >
                  {t("billing.buy")}
                </Button>
              )
            }
          />
        </Section>
        <CreditsSection />
        <StatementSection />
        <NoticesSection />
        <InvoicesSection />
      </div>
    </div>
  );
}

type Change = ReturnType<typeof useSubscriptionChange>;

function PresentPlan({
  isExpected,
  change,
  onPortal,
}: {
  isExpected: boolean;
  change: Change;
  onPortal: () => void;
}) {
  const { t, i18n } = useTranslation();
  const { data: own } = useSubscription({ isExpected });
  if (!own) return null;
  const hasPlan = own.state !== SubscriptionState.NONE;
  const isCancelled = own.state === SubscriptionState.CANCELLED;
  const isPaused = own.state === SubscriptionState.PAUSED;
  const day = (moment: typeof own.renewTime) => dayText(moment, i18n.language);
  const lines = [
    own.graceEndTime && t("billing.graceUntil", { day: day(own.graceEndTime) }),
    own.state === SubscriptionState.SUSPENDED && t("billing.suspended"),
    isPaused && t("billing.paused"),
    isCancelled && own.endTime && t("billing.endsOn", { day: day(own.endTime) }),
    own.renewTime && t("billing.renewedOn", { day: day(own.renewTime) }),
    own.nextPlanId && t("billing.thenPlan", { plan: own.nextPlanId }),
  ].filter((line): line is string => Boolean(line));
  return (
    <section
      aria-label={t("billing.yourPlan")}
      className="flex flex-wrap items-center gap-4 rounded-2xl border border-line bg-surface p-5"
    >
      <div className="min-w-48 flex-1">
        <p className="text-sm text-muted">{t("billing.yourPlan")}</p>
        <p className="text-2xl font-semibold capitalize">{own.planId}</p>
        {lines.map((line) => (
          <p key={line} className="text-sm text-muted">
            {line}
          </p>
        ))}
      </div>
      {hasPlan && <Button onClick={onPortal}>{t("billing.portal")}</Button>}
      {hasPlan && !isCancelled && (
        <Button
          kind="danger"
          disabled={change.isPending}
          onClick={() => change.mutate(() => subscriptions.cancelSubscription({}))}
        >
          {t("billing.cancel")}
        </Button>
      )}
      {own.canPause && (
        <Button
          disabled={change.isPending}
          onClick={() => change.mutate(() => subscriptions.pauseSubscription({}))}
        >
          {t("billing.pause")}
        </Button>
      )}
      {(isCancelled || isPaused) && (
        <Button
          kind="primary"
          disabled={change.isPending}
          onClick={() => change.mutate(() => subscriptions.resumeSubscription({}))}
        >
          {isPaused ? t("billing.unpause") : t("billing.resume")}
        </Button>
      )}
      <Button
        kind="ghost"
        disabled={change.isPending}
        onClick={() => change.mutate(() => subscriptions.syncSubscription({}))}
      >
        {t("billing.iHavePaid")}
      </Button>
    </section>
  );
}

/** The plans with what can be done from the one that the person has. */
function OwnPlans({
  change,
  onSubscribe,
  onAsk,
}: {
  change: Change;
  onSubscribe: (planId: string) => void;
  onAsk: () => void;
}) {
  const { t } = useTranslation();
  const { data: own } = useSubscription();
  const { data: plans } = usePlans();
  if (!own || !plans) return null;
  const priceOf = (planId: string) => plans.find((plan) => plan.planId === planId)?.priceCents ?? 0;
  const action = (plan: Plan) => {
    if (plan.planId === own.planId && !own.nextPlanId) return <span>{t("billing.yourPlan")}</span>;
    if (plan.priceCents === undefined) {
      return (
        <Button className="w-full" onClick={onAsk}>
          {t("enterprise.ask")}
        </Button>
      );
    }
    if (!plan.isSold) return null;
    if (own.state === SubscriptionState.NONE) {
      return (
        <Button kind="primary" className="w-full" onClick={() => onSubscribe(plan.planId)}>
          {t("billing.subscribe")}
        </Button>
      );
    }
    const isLarger = (plan.priceCents ?? 0) > priceOf(own.planId);
    return (
      <Button
        className="w-full"
        disabled={change.isPending || plan.planId === own.nextPlanId}
        onClick={() => change.mutate(() => subscriptions.changePlan({ planId: plan.planId }))}
      >
        {isLarger ? t("billing.changeNow") : t("billing.changeLater")}
      </Button>
    );
  };
  return <Plans present={own.planId} action={action} />;
}
