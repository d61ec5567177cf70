import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { Activity } from "./Activity";
import { SecondFactor } from "./SecondFactor";

/** What protects an account, and what was done to it. */
export function SecurityPage() {
  const { t } = useTranslation();
  return (
    <div className="h-full overflow-y-auto p-6">
      <div className="mx-auto flex max-w-2xl flex-col gap-8">
        <h2 className="text-2xl font-semibold tracking-tight">{t("security.title")}</h2>
        <Link to="/account" className="self-start text-sm text-muted underline">
          {t("security.back")}
        </Link>
        <Section title={t("security.secondFactor")}>
          <SecondFactor />
        </Section>
        <Section title={t("security.activity")}>
          <Activity />
        </Section>
      </div>
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title} className="flex flex-col gap-3 rounded-2xl border border-line bg-surface p-6">
      <h3 className="font-medium text-muted">{title}</h3>
      {children}
    </section>
  );
}
