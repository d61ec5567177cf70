import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { webhooks } from "@/api/webhooks";
import { useProblemText } from "@/app/useProblem";
import { Button, Field, Input, Notice } from "@/components/ui";
import type { WebhookEvent } from "@/gen/pingvas/generation/v1/webhook_pb";
import { EVENTS } from "./events";
import { Secret } from "./Secret";

/** The form that registers an address, and shows its secret once. */
export function NewWebhook() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  // The id of the request stays the same until an endpoint was made, so that a repetition makes no second one.
  const [requestId, setRequestId] = useState(() => crypto.randomUUID());
  const making = useMutation({
    mutationFn: ({ url, events }: { url: string; events: WebhookEvent[] }) =>
      webhooks.createWebhookEndpoint({ requestId, url, events }),
    onSuccess: () => {
      setRequestId(crypto.randomUUID());
      return queries.invalidateQueries({ queryKey: ["webhooks"] });
    },
  });

  function make(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const values = new FormData(form);
    const events = values.getAll("event").map(Number) as WebhookEvent[];
    making.mutate({ url: String(values.get("url")), events }, { onSuccess: () => form.reset() });
  }

  return (
    <form onSubmit={make} className="flex flex-col gap-3">
      <Field label={t("webhooks.url")}>
        {(ids) => <Input {...ids} name="url" type="url" placeholder="https://" maxLength={2000} required />}
      </Field>
      <fieldset className="flex flex-wrap gap-4 text-sm">
        <legend className="sr-only">{t("webhooks.events")}</legend>
        {EVENTS.map(({ event, key, isUsual }) => (
          <label key={key} className="flex items-center gap-2">
            <input type="checkbox" name="event" value={event} defaultChecked={isUsual} />
            {t(`webhookEvent.${key}`)}
          </label>
        ))}
      </fieldset>
      {making.data?.secret && <Secret secret={making.data.secret} />}
      {making.error && <Notice>{text(making.error)}</Notice>}
      <Button type="submit" className="self-start" disabled={making.isPending}>
        {t("webhooks.register")}
      </Button>
    </form>
  );
}
