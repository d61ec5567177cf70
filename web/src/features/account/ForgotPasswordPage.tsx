import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";
import { EntryCard } from "./EntryCard";

/** Asks for a link that sets a new password. The answer doesn't say whether anybody has the address. */
export function ForgotPasswordPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const asking = useMutation({ mutationFn: (email: string) => auth.forgotPassword({ email }) });
  const emailProblem = violationOf(asking.error, "email");

  return (
    <EntryCard
      title={t("account.forgotTitle")}
      lead={t("account.forgotLead")}
      onSubmit={(form) => asking.mutate(String(form.get("email")))}
    >
      <Field label={t("account.email")} problem={emailProblem}>
        {(ids) => <Input {...ids} name="email" type="email" autoComplete="email" required />}
      </Field>
      {asking.isSuccess && (
        <Notice tone="plain">{t("account.forgotSent", { email: asking.variables })}</Notice>
      )}
      {asking.error && !emailProblem && <Notice>{text(asking.error)}</Notice>}
      <Button type="submit" kind="primary" disabled={asking.isPending}>
        {t("account.forgotSend")}
      </Button>
      <Link to="/" className="text-center text-sm text-muted underline">
        {t("account.backToSignIn")}
      </Link>
    </EntryCard>
  );
}
