import type { MessageInitShape } from "@bufbuild/protobuf";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { apiKeys } from "@/api/apiKeys";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";
import type { ApiKey, ApiKeyLimits, ApiKeyLimitsSchema } from "@/gen/pingvas/user/v1/api_key_pb";

export type Limits = MessageInitShape<typeof ApiKeyLimitsSchema>;

/** The limits that a form names; what is left empty isn't limited. */
export function limitsIn(values: FormData): Limits {
  const text = (name: string) => String(values.get(name) ?? "").trim();
  return {
    creditsADay: text("creditsADay"),
    creditsAMonth: text("creditsAMonth"),
    modelIds: text("modelIds")
      .split(",")
      .map((id) => id.trim())
      .filter(Boolean),
    largestSidePx: Number(text("largestSidePx")) || 0,
  };
}

/** What a key is limited to, in one line; nothing for a key without limits. */
export function LimitsLine({ limits }: { limits: ApiKeyLimits | undefined }) {
  const { t } = useTranslation();
  if (!limits) return null;
  const parts = [
    limits.creditsADay && t("keyLimit.perDay", { amount: Number(limits.creditsADay) }),
    limits.creditsAMonth && t("keyLimit.perMonth", { amount: Number(limits.creditsAMonth) }),
    limits.modelIds.length > 0 && t("keyLimit.ofModels", { models: limits.modelIds.join(", ") }),
    limits.largestSidePx > 0 && t("keyLimit.ofSide", { side: limits.largestSidePx }),
  ].filter(Boolean);
  return parts.length > 0 && <p className="text-sm text-muted">{parts.join(" · ")}</p>;
}

export function LimitFields({ limits, problem }: { limits?: ApiKeyLimits | undefined; problem: unknown }) {
  const { t } = useTranslation();
  const credits = [
    ["creditsADay", t("keyLimit.day"), limits?.creditsADay, "credits_a_day"],
    ["creditsAMonth", t("keyLimit.month"), limits?.creditsAMonth, "credits_a_month"],
  ] as const;
  return (
    <div className="grid gap-3 py-3 sm:grid-cols-2">
      {credits.map(([name, label, value, field]) => (
        <Field key={name} label={label} problem={violationOf(problem, field)}>
          {(ids) => (
            <Input
              {...ids}
              name={name}
              inputMode="decimal"
              defaultValue={value}
              placeholder={t("keyLimit.unlimited")}
              maxLength={20}
            />
          )}
        </Field>
      ))}
      <Field label={t("keyLimit.models")}>
        {(ids) => (
          <Input
            {...ids}
            name="modelIds"
            defaultValue={limits?.modelIds.join(", ")}
            placeholder={t("keyLimit.unlimited")}
          />
        )}
      </Field>
      <Field label={t("keyLimit.side")}>
        {(ids) => (
          <Input
            {...ids}
            name="largestSidePx"
            type="number"
            min={1}
            max={100_000}
            defaultValue={limits?.largestSidePx || undefined}
            placeholder={t("keyLimit.unlimited")}
          />
        )}
      </Field>
      <p className="text-xs text-muted sm:col-span-2">{t("keyLimit.hint")}</p>
    </div>
  );
}

/** Replaces the limits of a key. */
export function LimitsForm({ apiKey }: { apiKey: ApiKey }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const limiting = useMutation({
    mutationFn: (limits: Limits) => apiKeys.updateApiKey({ apiKeyId: apiKey.apiKeyId, limits }),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["apiKeys"] }),
  });

  function save(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    limiting.mutate(limitsIn(new FormData(event.currentTarget)));
  }

  return (
    <details className="w-full text-sm">
      <summary className="cursor-pointer underline" aria-label={`${t("keyLimit.edit")}: ${apiKey.name}`}>
        {t("keyLimit.edit")}
      </summary>
      <form onSubmit={save}>
        <LimitFields limits={apiKey.limits} problem={limiting.error} />
        {limiting.error && <Notice>{text(limiting.error)}</Notice>}
        <Button type="submit" disabled={limiting.isPending}>
          {t("keyLimit.save")}
        </Button>
      </form>
    </details>
  );
}
