import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { webhooks } from "@/api/webhooks";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import type { WebhookEndpoint } from "@/gen/pingvas/generation/v1/webhook_pb";
import { Deliveries } from "./Deliveries";
import { eventNames } from "./events";
import { NewWebhook } from "./NewWebhook";
import { Secret } from "./Secret";

const MOST_ENDPOINTS = 200;

/** The addresses to which events of this account's jobs are sent. */
export function Webhooks() {
  const { t } = useTranslation();
  const text = useProblemText();
  const { data, error } = useQuery({
    queryKey: ["webhooks"],
    queryFn: () => webhooks.listWebhookEndpoints({ pageSize: MOST_ENDPOINTS }),
  });

  return (
    <>
      <p className="text-sm text-muted">{t("webhooks.hint")}</p>
      {error && <Notice>{text(error)}</Notice>}
      <ul className="flex flex-col divide-y divide-line">
        {data?.endpoints.map((endpoint) => (
          <Endpoint key={endpoint.endpointId} endpoint={endpoint} />
        ))}
      </ul>
      <NewWebhook />
    </>
  );
}

function Endpoint({ endpoint }: { endpoint: WebhookEndpoint }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const [isOpen, setIsOpen] = useState(false);
  const { endpointId } = endpoint;
  const refresh = () => queries.invalidateQueries({ queryKey: ["webhooks"] });
  const deleting = useMutation({
    mutationFn: () => webhooks.deleteWebhookEndpoint({ endpointId }),
    onSettled: refresh,
  });
  const switching = useMutation({
    mutationFn: () =>
      webhooks.updateWebhookEndpoint({
        endpointId,
        disabled: !endpoint.disabled,
        updateMask: { paths: ["disabled"] },
      }),
    onSettled: refresh,
  });
  const rotating = useMutation({ mutationFn: () => webhooks.rotateWebhookSecret({ endpointId }) });
  const testing = useMutation({
    mutationFn: () => webhooks.testWebhookEndpoint({ endpointId }),
    onSuccess: () => setIsOpen(true),
    onSettled: refresh,
  });
  const problem = deleting.error ?? switching.error ?? rotating.error ?? testing.error;
  const isBusy = deleting.isPending || switching.isPending || rotating.isPending || testing.isPending;

  return (
    <li aria-label={endpoint.url} className="flex flex-col gap-2 py-3">
      <p className="break-all">{endpoint.url}</p>
      <p className="text-sm text-muted">
        {eventNames(endpoint.events, t)}
        {endpoint.failingSince && !endpoint.disabled && ` · ${t("webhooks.failing")}`}
        {endpoint.disabled && ` · ${t("webhooks.disabled")}`}
      </p>
      {endpoint.disableReason && (
        <Notice>{t("webhooks.disabledByUs", { reason: endpoint.disableReason })}</Notice>
      )}
      {rotating.data?.secret && <Secret secret={rotating.data.secret} />}
      {problem && <Notice>{text(problem)}</Notice>}
      <div className="flex flex-wrap gap-2">
        <Button disabled={isBusy} onClick={() => testing.mutate()}>
          {t("webhooks.test")}
        </Button>
        <Button aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)}>
          {t("webhooks.deliveries")}
        </Button>
        <Button disabled={isBusy} onClick={() => switching.mutate()}>
          {endpoint.disabled ? t("webhooks.enable") : t("webhooks.disable")}
        </Button>
        <Button disabled={isBusy} onClick={() => rotating.mutate()}>
          {t("webhooks.rotate")}
        </Button>
        <Button kind="danger" disabled={isBusy} onClick={() => deleting.mutate()}>
          {t("webhooks.delete")}
        </Button>
      </div>
      {isOpen && <Deliveries endpointId={endpointId} />}
    </li>
  );
}
