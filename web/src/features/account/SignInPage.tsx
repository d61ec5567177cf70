import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { problemOf } from "@/api/problem";
import { signIn } from "@/api/session";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";
import { CodeStep } from "./CodeStep";
import { EntryCard } from "./EntryCard";
import type { FailureSearch } from "./identities/failure";
import { ProviderButtons } from "./identities/ProviderButtons";
import { SignInFailure } from "./identities/SignInFailure";
import { PasswordField } from "./PasswordField";
import { ResendLink } from "./ResendLink";

interface Credentials {
  email: string;
  password: string;
}

export function SignInPage({
  failure = {},
  wantsCode: startsWithCode = false,
}: {
  failure?: FailureSearch;
  wantsCode?: boolean;
}) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const [isNew, setIsNew] = useState(false);
  const [waitsFor, setWaitsFor] = useState("");
  const [wantsCode, setWantsCode] = useState(startsWithCode);
  const entering = useMutation({
    mutationFn: async ({ email, password }: Credentials) => {
      if (isNew) await auth.register({ email, password, locale: i18n.language });
      setWantsCode(await signIn(email, password));
    },
    onError: (error, { email }) => {
      // Registered, but the address has to be confirmed first; or somebody has it, who is told by mail.
      if (isNew && problemOf(error).reason === "LOGIN_FAILED") setWaitsFor(email);
    },
  });

  if (waitsFor) {
    return (
      <EntryCard title={t("account.mailTitle")} lead={t("account.mailLead", { email: waitsFor })}>
        <ResendLink email={waitsFor} />
        <Button
          kind="ghost"
          onClick={() => {
            setWaitsFor("");
            setIsNew(false);
            entering.reset();
          }}
        >
          {t("account.toSignIn")}
        </Button>
      </EntryCard>
    );
  }

  if (wantsCode) return <CodeStep onBack={() => setWantsCode(false)} />;

  const emailProblem = violationOf(entering.error, "email");
  const passwordProblem = violationOf(entering.error, "password");
  const title = isNew ? t("account.register") : t("account.signIn");
  return (
    <EntryCard
      title={title}
      lead={t("account.tagline")}
      onSubmit={(form) =>
        entering.mutate({ email: String(form.get("email")), password: String(form.get("password")) })
      }
    >
      <SignInFailure search={failure} />
      <Field label={t("account.email")} problem={emailProblem}>
        {(ids) => <Input {...ids} name="email" type="email" autoComplete="email" required />}
      </Field>
      <PasswordField
        name="password"
        label={t("account.password")}
        problem={passwordProblem}
        isCurrent={!isNew}
      />
      {entering.error && !emailProblem && !passwordProblem && <Notice>{text(entering.error)}</Notice>}
      <Button type="submit" kind="primary" disabled={entering.isPending}>
        {title}
      </Button>
      <Button
        kind="ghost"
        onClick={() => {
          setIsNew(!isNew);
          entering.reset();
        }}
      >
        {isNew ? t("account.toSignIn") : t("account.toRegister")}
      </Button>
      {!isNew && (
        <Link to="/forgot-password" className="text-center text-sm text-muted underline">
          {t("account.toForgot")}
        </Link>
      )}
      <ProviderButtons />
      <Link to="/pricing" className="text-center text-sm text-muted underline">
        {t("billing.pricing")}
      </Link>
      <Link to="/status" className="text-center text-sm text-muted underline">
        {t("account.toStatus")}
      </Link>
    </EntryCard>
  );
}
