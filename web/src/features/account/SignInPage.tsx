import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/clients";
import { signIn } from "@/api/session";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";

interface Credentials {
  email: string;
  password: string;
}

export function SignInPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const [isNew, setIsNew] = useState(false);
  const entering = useMutation({
    mutationFn: async ({ email, password }: Credentials) => {
      if (isNew) await auth.register({ email, password });
      await signIn(email, password);
    },
  });

  function enter(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    entering.mutate({ email: String(form.get("email")), password: String(form.get("password")) });
  }

  const emailProblem = violationOf(entering.error, "email");
  const passwordProblem = violationOf(entering.error, "password");
  const title = isNew ? t("account.register") : t("account.signIn");
  return (
    <main className="flex h-full items-center justify-center p-6">
      <form
        onSubmit={enter}
        className="flex w-full max-w-sm flex-col gap-4 rounded-2xl border border-line bg-surface p-8"
      >
        <img src="/favicon.svg" alt="" className="size-12" />
        <h1 className="text-2xl font-semibold tracking-tight">{title}</h1>
        <p className="-mt-2 mb-2 text-muted">{t("account.tagline")}</p>
        <Field label={t("account.email")} problem={emailProblem}>
          {(ids) => <Input {...ids} name="email" type="email" autoComplete="email" required />}
        </Field>
        <Field
          label={t("account.password")}
          problem={passwordProblem}
          hint={isNew && t("account.passwordHint")}
        >
          {(ids) => (
            <Input
              {...ids}
              name="password"
              type="password"
              autoComplete={isNew ? "new-password" : "current-password"}
              required
            />
          )}
        </Field>
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
      </form>
    </main>
  );
}
