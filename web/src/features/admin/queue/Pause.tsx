import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { operations } from "@/api/admin";
import { Button, Input } from "@/components/ui";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import type { QueueTier } from "@/gen/pingvas/generation/v1/operator_service_pb";
import { Refusal } from "../Refusal";
import { elapsed } from "./elapsed";

const REASON_LENGTH = 200;

/** Whether a tier is paused, since when and why; and the button that changes it. */
export function Pause({ tier }: { tier: QueueTier }) {
  const { t, i18n } = useTranslation();
  const client = useQueryClient();
  const [isSure, setSure] = useState(false);
  const [reason, setReason] = useState("");
  const show = () => client.invalidateQueries({ queryKey: ["admin", "queue"] });
  const pause = useMutation({
    mutationFn: () => operations.pauseTier({ tier: tier.tier, reason }),
    onSuccess: async () => {
      setSure(false);
      setReason("");
      await show();
    },
  });
  const resume = useMutation({
    mutationFn: () => operations.resumeTier({ tier: tier.tier }),
    onSuccess: show,
  });
  const name = t(`tierName.${Tier[tier.tier]}`);
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    pause.mutate();
  };
  return (
    <div className="flex flex-wrap items-center gap-3">
      {tier.pauseTime && (
        <span>
          {t("admin.pausedSince", {
            time: elapsed(timestampDate(tier.pauseTime), new Date(), i18n.language),
          })}
          {tier.pauseReason && <span className="block text-muted">{tier.pauseReason}</span>}
        </span>
      )}
      {tier.pauseTime ? (
        <Button
          disabled={resume.isPending}
          aria-label={t("admin.resumeTier", { tier: name })}
          onClick={() => resume.mutate()}
        >
          {t("admin.resume")}
        </Button>
      ) : isSure ? (
        <form className="flex flex-wrap items-center gap-3" onSubmit={onSubmit}>
          <Input
            aria-label={t("admin.pauseReason")}
            placeholder={t("admin.pauseReason")}
            maxLength={REASON_LENGTH}
            value={reason}
            onChange={({ target }) => setReason(target.value)}
          />
          <Button kind="danger" type="submit" disabled={pause.isPending}>
            {t("admin.pauseSure")}
          </Button>
        </form>
      ) : (
        <Button aria-label={t("admin.pauseTier", { tier: name })} onClick={() => setSure(true)}>
          {t("admin.pause")}
        </Button>
      )}
      <Refusal error={pause.error ?? resume.error} />
    </div>
  );
}
