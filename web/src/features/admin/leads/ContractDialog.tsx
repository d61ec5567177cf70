import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation } from "@tanstack/react-query";
import type { ComponentProps, FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { problemOf } from "@/api/problem";
import { enterprise } from "@/api/subscriptions";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Dialog } from "@/components/Dialog";
import { Button, Field, Input, Notice } from "@/components/ui";
import type { EnterpriseLead } from "@/gen/pingvas/payment/v1/enterprise_pb";
import { Refusal } from "../Refusal";
import { contractOf } from "./contract";

/** What was agreed on with somebody who asked, which counts as soon as it is sent. */
export function ContractDialog({ lead, onClose }: { lead: EnterpriseLead; onClose: () => void }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const activating = useMutation({
    mutationFn: (values: FormData) => enterprise.activateEnterprise(contractOf(lead.accountId, values)),
  });
  const { data: contract, error } = activating;
  const days = new Intl.DateTimeFormat(i18n.language, { dateStyle: "long" });

  function activate(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    activating.mutate(new FormData(event.currentTarget));
  }

  const isTaken = error && problemOf(error).reason === "ENTERPRISE_CONTRACT_EXISTS";
  const problems: Record<string, string | undefined> = Object.fromEntries(
    FIELDS.map(({ name }) => [name, violationOf(error, name)]),
  );
  if (isTaken) problems.reference = text(error);
  const isExplained = Object.values(problems).some(Boolean);
  return (
    <Dialog label={t("leads.contractWith", { company: lead.company })} onClose={onClose}>
      {contract ? (
        <div className="flex flex-col items-start gap-4">
          <Notice tone="plain">
            {t("leads.activated", {
              reference: contract.reference,
              day: contract.endTime && days.format(timestampDate(contract.endTime)),
            })}
          </Notice>
          <Button onClick={onClose}>{t("leads.close")}</Button>
        </div>
      ) : (
        <form className="flex flex-col gap-4" onSubmit={activate}>
          <div className="grid gap-4 sm:grid-cols-2">
            {FIELDS.map(({ name, ...given }) => (
              <Field
                key={name}
                label={t(`contract.${name}`)}
                hint={isLimit(name) && t("leads.asTier")}
                problem={problems[name]}
              >
                {(ids) => <Input {...ids} name={name} {...given} />}
              </Field>
            ))}
          </div>
          {!isExplained && <Refusal error={error} />}
          <Button type="submit" kind="primary" className="self-start" disabled={activating.isPending}>
            {t("leads.activate")}
          </Button>
        </form>
      )}
    </Dialog>
  );
}

/** By their names in the request, so that what it says of one is shown there. */
const FIELDS: (ComponentProps<"input"> & { name: string })[] = [
  { name: "reference", required: true, maxLength: 64 },
  { name: "end_time", type: "date", required: true },
  { name: "credits", type: "number", required: true, step: 0.001 },
  { name: "amount_cents", type: "number", required: true, min: 0, step: 0.01 },
  { name: "currency", required: true, defaultValue: "USD", maxLength: 3, pattern: "[A-Z]{3}" },
  { name: "storage_bytes", type: "number", min: 0, step: 1 },
  { name: "running_jobs", type: "number", min: 0, max: 1000, step: 1 },
  { name: "requests_per_second", type: "number", min: 0, max: 100_000, step: 1 },
];

function isLimit(name: string): boolean {
  return ["storage_bytes", "running_jobs", "requests_per_second"].includes(name);
}
