import { useMutation } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { emails } from "@/api/emails";
import { problemOf } from "@/api/problem";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";

const CODE_REASONS = new Set(["SECOND_FACTOR_CODE_MISSING", "SECOND_FACTOR_FAILED"]);

/** Asks for a link to a new address. Nothing changes before it is opened. */
export function ChangeEmail({ hasPassword }: { hasPassword: boolean }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const asking = useMutation({
    mutationFn: (request: { newEmail: string; currentPassword: string; code: string }) =>
      emails.changeEmail(request),
  });
  const emailProblem = violationOf(asking.error, "new_email");
  // Only the service knows who has a second factor.
  const wantsCode = asking.error !== null && CODE_REASONS.has(problemOf(asking.error).reason);

  function ask(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const values = new FormData(form);
    asking.mutate(
      {
        newEmail: String(values.get("newEmail")),
        currentPassword: String(values.get("password") ?? ""),
        code: String(values.get("code") ?? ""),
      },
      { onSuccess: () => form.reset() },
    );
  }

  return (
    <details>
      <summary className="cursor-pointer text-sm underline">{t("emailChange.change")}</summary>
      <form onSubmit={ask} className="mt-3 flex flex-col gap-3">
        <Field label={t("emailChange.newEmail")} problem={emailProblem}>
          {(ids) => (
            <Input {...ids} name="newEmail" type="email" autoComplete="email" maxLength={254} required />
          )}
        </Field>
        {hasPassword && (
          <Field label={t("account.password")} hint={t("emailChange.passwordHint")}>
            {(ids) => <Input {...ids} name="password" type="password" autoComplete="current-password" />}
          </Field>
        )}
        {wantsCode && (
          <Field label={t("emailChange.code")} hint={t("emailChange.codeHint")}>
            {(ids) => <Input {...ids} name="code" autoComplete="one-time-code" maxLength={32} required />}
          </Field>
        )}
        {asking.isSuccess && (
          <Notice tone="plain">{t("emailChange.mailed", { email: asking.variables.newEmail })}</Notice>
        )}
        {asking.error && !emailProblem && <Notice>{text(asking.error)}</Notice>}
        <Button type="submit" className="self-start" disabled={asking.isPending}>
          {t("account.forgotSend")}
        </Button>
      </form>
    </details>
  );
}
