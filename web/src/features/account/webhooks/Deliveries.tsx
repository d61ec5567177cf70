import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { webhooks } from "@/api/webhooks";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { DeliveryState, type WebhookDelivery } from "@/gen/pingvas/generation/v1/webhook_pb";
import { eventNames } from "./events";

const SHOWN = 20;
const REFRESH_MS = 2_000;
const IDLE_REFRESH_MS = 15_000;
const STATES = {
  [DeliveryState.UNSPECIFIED]: "pending",
  [DeliveryState.PENDING]: "pending",
  [DeliveryState.DELIVERED]: "delivered",
  [DeliveryState.FAILED]: "failed",
} as const;

/** What was sent to an endpoint last, and what became of it; looked at often while something is on its way. */
export function Deliveries({ endpointId }: { endpointId: string }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { data, error } = useQuery({
    queryKey: ["webhooks", endpointId, "deliveries"],
    queryFn: () => webhooks.listWebhookDeliveries({ endpointId, pageSize: SHOWN }),
    refetchInterval: ({ state }) => (state.data?.deliveries.some(isPending) ? REFRESH_MS : IDLE_REFRESH_MS),
  });
  const replaying = useMutation({
    mutationFn: (deliveryId: string) => webhooks.replayWebhookDelivery({ deliveryId }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["webhooks", endpointId, "deliveries"] }),
  });
  const problem = error ?? replaying.error;
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "short", timeStyle: "medium" });

  return (
    <div className="rounded-lg bg-raised p-3 text-sm">
      {problem && <Notice>{text(problem)}</Notice>}
      {data?.deliveries.length === 0 && <p className="text-muted">{t("webhooks.nothingSent")}</p>}
      <ul aria-label={t("webhooks.deliveries")} className="flex flex-col gap-2">
        {data?.deliveries.map((delivery) => (
          <li key={delivery.deliveryId} className="flex flex-wrap items-center gap-x-3">
            <span>{eventNames([delivery.event], t)}</span>
            <span className="text-muted">
              {delivery.createTime && times.format(timestampDate(delivery.createTime))} ·{" "}
              {t(`deliveryState.${STATES[delivery.state]}`)} ·{" "}
              {t("webhooks.attempts", { count: delivery.attemptCount })}
              {delivery.lastHttpStatus > 0 && ` · HTTP ${delivery.lastHttpStatus}`}
            </span>
            <Button
              kind="ghost"
              className="ml-auto"
              disabled={replaying.isPending}
              onClick={() => replaying.mutate(delivery.deliveryId)}
            >
              {t("webhooks.replay")}
            </Button>
            {delivery.lastError && <span className="w-full text-danger">{delivery.lastError}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}

function isPending(delivery: WebhookDelivery): boolean {
  return delivery.state === DeliveryState.PENDING;
}
