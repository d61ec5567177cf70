import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { secondFactors } from "@/api/security";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { QrImage } from "@/features/gallery/QrImage";
import { CodeField } from "../CodeField";

const STATE = ["secondFactor"];

/** Turns the second step of signing in on and off. Recovery codes are shown once, when they are made. */
export function SecondFactor() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const [codes, setCodes] = useState<string[]>([]);
  const { data, error } = useQuery({ queryKey: STATE, queryFn: () => secondFactors.getSecondFactor({}) });
  const reload = () => queries.invalidateQueries({ queryKey: STATE });
  const beginning = useMutation({ mutationFn: () => secondFactors.beginSecondFactor({}) });
  const confirming = useMutation({
    mutationFn: (code: string) => secondFactors.confirmSecondFactor({ code }),
    onSuccess: (made) => {
      setCodes(made.codes);
      beginning.reset();
      return reload();
    },
  });
  const disabling = useMutation({
    mutationFn: (code: string) => secondFactors.disableSecondFactor({ code }),
    onSuccess: () => {
      setCodes([]);
      return reload();
    },
  });
  const replacing = useMutation({
    mutationFn: (code: string) => secondFactors.replaceRecoveryCodes({ code }),
    onSuccess: (made) => {
      setCodes(made.codes);
      return reload();
    },
  });
  const problem =
    error ?? beginning.error ?? confirming.error ?? disabling.error ?? replacing.error ?? undefined;

  return (
    <>
      {data && (
        <p>
          {data.isOn
            ? t("security.isOn", { count: data.recoveryCodeCount })
            : data.isRequired
              ? t("security.isRequired")
              : t("security.isOff")}
        </p>
      )}
      {codes.length > 0 && (
        <Notice tone="plain">
          <p>{t("security.recoveryLead")}</p>
          <ul
            aria-label={t("security.recoveryCodes")}
            className="mt-2 grid grid-cols-2 gap-1 font-mono text-sm"
          >
            {codes.map((code) => (
              <li key={code}>{code}</li>
            ))}
          </ul>
        </Notice>
      )}
      {problem && <Notice>{text(problem)}</Notice>}
      {data && !data.isOn && !beginning.data && (
        <Button className="self-start" disabled={beginning.isPending} onClick={() => beginning.mutate()}>
          {t("security.turnOn")}
        </Button>
      )}
      {data && !data.isOn && beginning.data && (
        <CodeForm label={t("security.confirm")} isBusy={confirming.isPending} onCode={confirming.mutate}>
          <p className="text-sm text-muted">{t("security.scan")}</p>
          <QrImage text={beginning.data.otpauthUrl} label={t("security.qr")} />
          <p className="break-all text-center font-mono text-sm">{beginning.data.secret}</p>
        </CodeForm>
      )}
      {data?.isOn && (
        <details>
          <summary className="cursor-pointer text-sm text-muted">{t("security.change")}</summary>
          <div className="mt-3 flex flex-col gap-6">
            <CodeForm
              label={t("security.newRecoveryCodes")}
              isBusy={replacing.isPending}
              onCode={replacing.mutate}
            />
            <CodeForm
              label={t("security.turnOff")}
              kind="danger"
              isBusy={disabling.isPending}
              onCode={disabling.mutate}
            />
          </div>
        </details>
      )}
    </>
  );
}

function CodeForm({
  label,
  kind,
  isBusy,
  onCode,
  children,
}: {
  label: string;
  kind?: "danger";
  isBusy: boolean;
  onCode: (code: string) => void;
  children?: React.ReactNode;
}) {
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    onCode(String(new FormData(event.currentTarget).get("code")));
    event.currentTarget.reset();
  }
  return (
    <form onSubmit={submit} aria-label={label} className="flex flex-col items-stretch gap-3">
      {children}
      <CodeField />
      <Button type="submit" {...(kind && { kind })} className="self-start" disabled={isBusy}>
        {label}
      </Button>
    </form>
  );
}
