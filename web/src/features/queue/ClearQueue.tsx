import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { ListX } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { generation } from "@/api/clients";
import { useProblemText } from "@/app/useProblem";
import { Dialog } from "@/components/Dialog";
import { Button, IconButton, Notice } from "@/components/ui";
import { JOBS } from "./watch";

/** Cancels everything of one's own that waits, and on request what runs, after saying how many jobs that are. */
export function ClearQueue() {
  const { t } = useTranslation();
  const [isAsking, ask] = useState(false);
  return (
    <>
      <IconButton label={t("queue.clear")} onClick={() => ask(true)}>
        <ListX className="size-4" aria-hidden />
      </IconButton>
      {isAsking && <Question onClose={() => ask(false)} />}
    </>
  );
}

function Question({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const [includesRunning, includeRunning] = useState(false);
  // Asked for anew each time: the list on the page has the newest jobs only.
  const { data: status } = useQuery({
    queryKey: ["queueStatus"],
    queryFn: () => generation.getQueueStatus({}),
    staleTime: 0,
    gcTime: 0,
  });
  const clear = useClearQueue(onClose);
  const number = status ? status.ownWaiting + (includesRunning ? status.ownRunning : 0) : 0;
  return (
    <Dialog label={t("queue.clear")} onClose={onClose}>
      <div className="flex flex-col gap-4">
        <p>{status && t("queue.clearWaiting", { waiting: status.ownWaiting })}</p>
        {status && status.ownRunning > 0 && (
          <label className="flex items-start gap-2">
            <input
              type="checkbox"
              className="mt-1"
              checked={includesRunning}
              onChange={(event) => includeRunning(event.target.checked)}
            />
            {t("queue.clearRunning", { running: status.ownRunning })}
          </label>
        )}
        {clear.error && <Notice>{text(clear.error)}</Notice>}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("queue.keep")}</Button>
          <Button
            kind="primary"
            disabled={number === 0 || clear.isPending}
            onClick={() => clear.mutate(includesRunning)}
          >
            {t("queue.clearConfirm", { number })}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

function useClearQueue(onCleared: () => void) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: async (includesRunning: boolean) => {
      // One call reaches a hundred jobs.
      while ((await generation.clearQueue({ includesRunning })).remainingCount > 0);
    },
    onSuccess: onCleared,
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: JOBS });
      void queries.invalidateQueries({ queryKey: ["balance"] });
    },
  });
}
