import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { enterprise } from "@/api/subscriptions";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice, TextArea } from "@/components/ui";
import { Section } from "./Section";

/** Asks our sales team for the plan that is sold by contract. */
export function EnterpriseRequest() {
  const { t } = useTranslation();
  const text = useProblemText();
  // One request however often its reply is lost; the form is gone once it was sent.
  const [requestId] = useState(() => crypto.randomUUID());
  const asking = useMutation({
    mutationFn: (values: FormData) =>
      enterprise.requestEnterprise({
        requestId,
        company: String(values.get("company")).trim(),
        contact: String(values.get("contact")).trim(),
        message: String(values.get("message")).trim(),
      }),
  });

  function ask(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    asking.mutate(new FormData(event.currentTarget));
  }

  if (asking.isSuccess) return <Notice tone="plain">{t("enterprise.sent")}</Notice>;
  const problem = (field: string) => violationOf(asking.error, field);
  const isExplained = ["company", "contact", "message"].some(problem);
  return (
    <Section title={t("enterprise.title")} hint={t("enterprise.hint")}>
      {asking.error && !isExplained && <Notice>{text(asking.error)}</Notice>}
      <form className="flex max-w-2xl flex-col gap-3" onSubmit={ask}>
        <Field label={t("enterprise.company")} problem={problem("company")}>
          {(ids) => <Input {...ids} name="company" required maxLength={200} />}
        </Field>
        <Field label={t("enterprise.contact")} problem={problem("contact")}>
          {(ids) => <Input {...ids} name="contact" maxLength={200} />}
        </Field>
        <Field label={t("enterprise.message")} problem={problem("message")}>
          {(ids) => <TextArea {...ids} name="message" required maxLength={4000} rows={4} />}
        </Field>
        <Button type="submit" kind="primary" className="self-start" disabled={asking.isPending}>
          {t("enterprise.send")}
        </Button>
      </form>
    </Section>
  );
}
