import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { payments } from "@/api/admin";
import { Button, Notice } from "@/components/ui";
import { Refusal } from "./Refusal";

/** The audit of the whole ledger, which reads every row of it: only when asked for. */
export function LedgerSection() {
  const { t } = useTranslation();
  const audit = useMutation({ mutationFn: () => payments.auditLedger({}) });
  const breaches = audit.data?.breaches ?? [];
  return (
    <section className="flex flex-col items-start gap-4">
      <p className="max-w-prose text-muted">{t("admin.ledgerHint")}</p>
      <Button kind="primary" disabled={audit.isPending} onClick={() => audit.mutate()}>
        {audit.isPending ? t("admin.auditing") : t("admin.auditLedger")}
      </Button>
      <Refusal error={audit.error} />
      {audit.data && breaches.length === 0 && <Notice tone="plain">{t("admin.ledgerIsWhole")}</Notice>}
      {breaches.length > 0 && (
        <>
          <Notice>{t("admin.breaches", { count: breaches.length })}</Notice>
          <ul className="flex w-full flex-col divide-y divide-line font-mono text-sm">
            {breaches.map(({ invariant, reference }) => (
              <li key={`${invariant} ${reference}`} className="py-2 break-all">
                {invariant} <span className="text-muted">{reference}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}
