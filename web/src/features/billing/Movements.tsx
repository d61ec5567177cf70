import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Button, Input, MoreButton, Select } from "@/components/ui";
import { TransactionKind } from "@/gen/pingvas/payment/v1/credit_service_pb";
import { Download } from "./Download";
import { creditsText, momentText } from "./money";
import { EVERYTHING, exportTransactions, partsOf, useTransactions } from "./statement";

const KINDS = [
  TransactionKind.GRANT,
  TransactionKind.RESERVE,
  TransactionKind.SETTLE,
  TransactionKind.RELEASE,
  TransactionKind.EXPIRE,
  TransactionKind.REVOKE,
];

export function Movements() {
  const { t, i18n } = useTranslation();
  const [choice, setChoice] = useState(EVERYTHING);
  const listing = useTransactions(choice);
  const movements = listing.data;
  const amount = (text: string) => creditsText(text, i18n.language);
  return (
    <>
      <div className="flex flex-wrap items-center gap-3">
        <div className="w-56">
          <Select
            aria-label={t("billing.kind")}
            value={choice.kind}
            onChange={(event) => setChoice({ ...choice, kind: Number(event.target.value) })}
          >
            <option value={TransactionKind.UNSPECIFIED}>{t("billing.anyKind")}</option>
            {KINDS.map((kind) => (
              <option key={kind} value={kind}>
                {t(`transactionKind.${TransactionKind[kind]}`)}
              </option>
            ))}
          </Select>
        </div>
        <div className="w-44">
          <Input
            type="date"
            aria-label={t("billing.day")}
            value={choice.day}
            onChange={(event) => setChoice({ ...choice, day: event.target.value })}
          />
        </div>
        {choice.jobId && (
          <Button kind="ghost" onClick={() => setChoice({ ...choice, jobId: "" })}>
            {t("billing.allJobs")}
          </Button>
        )}
        <Download name="movements.csv" text={() => exportTransactions(choice)}>
          {t("billing.movementsCsv")}
        </Download>
      </div>
      <table className="w-full text-sm tabular-nums">
        <caption className="sr-only">{t("billing.movements")}</caption>
        <tbody>
          {movements?.map((each) => (
            <tr key={each.transactionId} className="border-b border-line">
              <td className="py-2 text-muted">{momentText(each.createTime, i18n.language)}</td>
              <td>
                {t(`transactionKind.${TransactionKind[each.kind]}`)}
                <span className="block text-muted">
                  {partsOf(each)
                    .map(([part, text]) => t(`movementPart.${part}`, { amount: amount(text) }))
                    .join(" · ")}
                </span>
              </td>
              <td>
                {each.jobId && !choice.jobId && (
                  <Button kind="ghost" onClick={() => setChoice({ ...choice, jobId: each.jobId })}>
                    {t("billing.thisJob")}
                  </Button>
                )}
              </td>
              <td className="text-right">{amount(each.amount)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {movements?.length === 0 && choice !== EVERYTHING && (
        <p className="text-sm text-muted">{t("billing.noMovements")}</p>
      )}
      <MoreButton listing={listing}>{t("billing.more")}</MoreButton>
    </>
  );
}
