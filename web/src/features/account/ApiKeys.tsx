import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { apiKeys } from "@/api/apiKeys";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";
import { Scope } from "@/gen/pingvas/common/v1/scope_pb";
import { LimitFields, type Limits, LimitsForm, LimitsLine, limitsIn } from "./KeyLimits";

const MOST_KEYS = 200;
const SCOPES = [
  { scope: Scope.READ, key: "read" },
  { scope: Scope.GENERATE, key: "generate" },
  { scope: Scope.GALLERY, key: "gallery" },
  { scope: Scope.ADMIN, key: "admin" },
] as const;

/** The keys with which programs call in this person's name. */
export function ApiKeys() {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { data, error } = useQuery({
    queryKey: ["apiKeys"],
    queryFn: () => apiKeys.listApiKeys({ pageSize: MOST_KEYS }),
  });
  const deleting = useMutation({
    mutationFn: (apiKeyId: string) => apiKeys.deleteApiKey({ apiKeyId }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["apiKeys"] }),
  });
  const problem = error ?? deleting.error;
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium", timeStyle: "short" });

  return (
    <>
      <p className="text-sm text-muted">{t("account.keysHint")}</p>
      {problem && <Notice>{text(problem)}</Notice>}
      <ul className="flex flex-col divide-y divide-line">
        {data?.apiKeys.map((key) => (
          <li key={key.apiKeyId} className="flex flex-wrap items-center gap-3 py-3">
            <div className="min-w-0 flex-1">
              <p className="truncate">{key.name}</p>
              <p className="truncate text-sm text-muted">
                {key.apiKeyId} · {scopesOf(key.scopes, (name) => t(`scope.${name}`))} ·{" "}
                {key.lastUseTime
                  ? t("account.lastSeen", { time: times.format(timestampDate(key.lastUseTime)) })
                  : t("account.neverUsed")}
              </p>
              <LimitsLine limits={key.limits} />
            </div>
            <Button kind="danger" disabled={deleting.isPending} onClick={() => deleting.mutate(key.apiKeyId)}>
              {t("account.deleteKey")}
            </Button>
            <LimitsForm apiKey={key} />
          </li>
        ))}
      </ul>
      <NewKey />
    </>
  );
}

function NewKey() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  // The id of the request stays the same until a key was made, so that a repetition makes no second one.
  const [requestId, setRequestId] = useState(() => crypto.randomUUID());
  const making = useMutation({
    mutationFn: (key: { name: string; scopes: Scope[]; limits: Limits }) =>
      apiKeys.createApiKey({ requestId, ...key }),
    onSuccess: () => {
      setRequestId(crypto.randomUUID());
      return queries.invalidateQueries({ queryKey: ["apiKeys"] });
    },
  });
  const scopeProblem = violationOf(making.error, "scopes");

  function make(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const values = new FormData(form);
    const scopes = values.getAll("scope").map(Number) as Scope[];
    making.mutate(
      { name: String(values.get("name")), scopes, limits: limitsIn(values) },
      { onSuccess: () => form.reset() },
    );
  }

  return (
    <form onSubmit={make} className="flex flex-col gap-3">
      <Field label={t("account.keyName")} problem={scopeProblem}>
        {(ids) => <Input {...ids} name="name" maxLength={80} required />}
      </Field>
      <fieldset className="flex flex-wrap gap-4 text-sm">
        <legend className="sr-only">{t("account.keyScopes")}</legend>
        {SCOPES.map(({ scope, key }) => (
          <label key={key} className="flex items-center gap-2">
            <input
              type="checkbox"
              name="scope"
              value={scope}
              defaultChecked={scope === Scope.READ || scope === Scope.GENERATE}
            />
            {t(`scope.${key}`)}
          </label>
        ))}
      </fieldset>
      <details className="text-sm">
        <summary className="cursor-pointer underline">{t("keyLimit.title")}</summary>
        <LimitFields problem={making.error} />
      </details>
      {making.data?.key && (
        <Notice tone="plain">
          {t("account.keyOnce")}
          <code className="mt-2 block select-all break-all font-mono text-ink">{making.data.key}</code>
        </Notice>
      )}
      {making.error && !scopeProblem && <Notice>{text(making.error)}</Notice>}
      <Button type="submit" className="self-start" disabled={making.isPending}>
        {t("account.makeKey")}
      </Button>
    </form>
  );
}

function scopesOf(scopes: readonly Scope[], nameOf: (key: (typeof SCOPES)[number]["key"]) => string): string {
  return SCOPES.filter(({ scope }) => scopes.includes(scope))
    .map(({ key }) => nameOf(key))
    .join(", ");
}
