import clsx from "clsx";
import { CircleCheck, CircleHelp, CircleX } from "lucide-react";
import { useTranslation } from "react-i18next";
import { Notice } from "@/components/ui";
import { useStatus } from "./status";

const LOOKS = {
  up: { Icon: CircleCheck, colour: "text-good" },
  down: { Icon: CircleX, colour: "text-danger" },
  unknown: { Icon: CircleHelp, colour: "text-muted" },
} as const;

/** Each part of the platform with its state. */
export function Parts() {
  const { t, i18n } = useTranslation();
  const { data, error } = useStatus();
  if (error) return <Notice>{t("status.unreachable")}</Notice>;
  if (!data) return <p className="text-muted">{t("status.asking")}</p>;
  const isWell = data.parts.every(({ state }) => state === "up");
  const time = new Intl.DateTimeFormat(i18n.language, { timeStyle: "medium" });
  return (
    <div className="flex flex-col gap-4">
      <p
        role="status"
        className={clsx(
          "rounded-2xl border px-5 py-4 text-lg font-semibold",
          isWell ? "border-good/40 bg-good/10 text-good" : "border-danger/40 bg-danger/10 text-danger",
        )}
      >
        {isWell ? t("status.allUp") : t("status.someDown")}
      </p>
      <ul className="divide-y divide-line rounded-2xl border border-line bg-surface">
        {data.parts.map(({ part, state }) => {
          const { Icon, colour } = LOOKS[state];
          return (
            <li key={part} className="flex items-center gap-4 px-5 py-3.5">
              <span className="min-w-0 flex-1">
                <span className="block font-medium">{t(`part.${part}`)}</span>
                <span className="block text-sm text-muted">{t(`partHint.${part}`)}</span>
              </span>
              <span className={clsx("flex items-center gap-2 text-sm font-medium", colour)}>
                <Icon className="size-5" aria-hidden />
                {t(`partState.${state}`)}
              </span>
            </li>
          );
        })}
      </ul>
      <p className="text-sm text-muted tabular-nums">
        {t("status.asOf", { time: time.format(new Date(data.check_time)) })}
      </p>
    </div>
  );
}
