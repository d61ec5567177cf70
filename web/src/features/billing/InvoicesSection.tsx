import { useTranslation } from "react-i18next";
import { MoreButton } from "@/components/ui";
import { InvoiceReason } from "@/gen/pingvas/payment/v1/subscription_pb";
import { useInvoices } from "./billing";
import { creditsText, dayText, priceText } from "./money";
import { Section } from "./Section";

export function InvoicesSection() {
  const { t, i18n } = useTranslation();
  const listing = useInvoices();
  const invoices = listing.data;
  if (!invoices) return null;
  return (
    <Section title={t("billing.invoices")} hint={t("billing.documents")}>
      {invoices.length === 0 && <p className="text-muted">{t("billing.noInvoices")}</p>}
      <table className="w-full text-sm tabular-nums">
        <caption className="sr-only">{t("billing.invoices")}</caption>
        <tbody>
          {invoices.map((invoice) => (
            <tr key={invoice.invoiceId} className="border-b border-line">
              <td className="py-2 text-muted">{dayText(invoice.issueTime, i18n.language)}</td>
              <td>
                {t(`invoiceReason.${InvoiceReason[invoice.reason]}`)} · {invoice.itemId}
              </td>
              <td>{t("app.credits", { amount: creditsText(invoice.credits, i18n.language) })}</td>
              <td className="text-right">
                {priceText(invoice.amountCents, invoice.currency, i18n.language)}
                {invoice.refundedCents > 0 &&
                  ` · ${t("billing.refunded", { amount: priceText(invoice.refundedCents, invoice.currency, i18n.language) })}`}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <MoreButton listing={listing}>{t("billing.more")}</MoreButton>
    </Section>
  );
}
