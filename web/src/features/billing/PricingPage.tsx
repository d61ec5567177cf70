import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { Packs, Plans } from "./Offers";

/** What everything costs, for whoever asks: needs no account. */
export function PricingPage() {
  const { t } = useTranslation();
  const toBilling = (label: string) => (
    <Link
      to="/billing"
      className="inline-flex h-9 w-full items-center justify-center rounded-lg bg-accent px-3.5 font-medium text-accent-ink hover:brightness-110"
    >
      {label}
    </Link>
  );
  return (
    <main className="h-full overflow-y-auto">
      <div className="mx-auto flex max-w-7xl flex-col gap-8 p-6 md:p-10">
        <header className="flex items-center gap-3">
          <Link to="/" aria-label={t("app.home")}>
            <img src="/favicon.svg" alt="" className="size-10" />
          </Link>
          <h1 className="text-2xl font-semibold tracking-tight">{t("billing.pricing")}</h1>
        </header>
        <p className="max-w-prose text-muted">{t("billing.whatACreditIs")}</p>
        <Plans
          action={(plan) =>
            plan.priceCents === undefined
              ? toBilling(t("enterprise.ask"))
              : plan.isSold && toBilling(t("billing.subscribe"))
          }
        />
        <section className="flex flex-col gap-3">
          <h2 className="text-lg font-semibold">{t("billing.packs")}</h2>
          <p className="text-muted">{t("billing.packsLast")}</p>
          <Packs
            action={(pack) => pack.isSold && <span className="w-24">{toBilling(t("billing.buy"))}</span>}
          />
        </section>
      </div>
    </main>
  );
}
