import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { credits } from "@/api/clients";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";
import { Section } from "./Section";

const NOTICES = ["creditNotices"];

/** What the person is mailed about their credits. */
export function NoticesSection() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { data: chosen } = useQuery({ queryKey: NOTICES, queryFn: () => credits.getCreditNotices({}) });
  const saving = useMutation({
    mutationFn: (values: FormData) =>
      credits.setCreditNotices({
        lowBalance: String(values.get("lowBalance")).trim(),
        mailsStatements: values.get("mailsStatements") === "on",
      }),
    onSuccess: (saved) => queries.setQueryData(NOTICES, saved),
  });
  if (!chosen) return null;
  const problem = violationOf(saving.error, "low_balance");

  function save(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    saving.mutate(new FormData(event.currentTarget));
  }

  return (
    <Section title={t("notices.title")} hint={t("notices.hint")}>
      {saving.error && !problem && <Notice>{text(saving.error)}</Notice>}
      <form className="flex flex-wrap items-end gap-4" onSubmit={save} onChange={() => saving.reset()}>
        <div className="w-64">
          <Field label={t("notices.lowBalance")} problem={problem}>
            {(ids) => (
              <Input
                {...ids}
                name="lowBalance"
                inputMode="decimal"
                maxLength={16}
                defaultValue={chosen.lowBalance && String(Number(chosen.lowBalance))}
                placeholder={t("notices.noWarning")}
              />
            )}
          </Field>
        </div>
        <label className="flex h-9 items-center gap-2 text-sm">
          <input type="checkbox" name="mailsStatements" defaultChecked={chosen.mailsStatements} />
          {t("notices.statements")}
        </label>
        <Button type="submit" disabled={saving.isPending}>
          {t("notices.save")}
        </Button>
        <p role="status" className="flex h-9 items-center text-sm text-muted">
          {saving.isSuccess && t("notices.saved")}
        </p>
      </form>
    </Section>
  );
}
