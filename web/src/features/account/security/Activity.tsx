import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { auditLog } from "@/api/security";
import { useProblemText } from "@/app/useProblem";
import { MoreButton, Notice } from "@/components/ui";
import { AuditEventKind } from "@/gen/pingvas/user/v1/audit_event_pb";

const PAGE = 20;

/** What was done to the account, the newest first. */
export function Activity() {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const listing = useInfiniteQuery({
    queryKey: ["auditEvents"],
    queryFn: ({ pageParam }) => auditLog.listAuditEvents({ pageSize: PAGE, pageToken: pageParam }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
  });
  const events = listing.data?.pages.flatMap((page) => page.events) ?? [];
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium", timeStyle: "short" });
  const said = (kind: AuditEventKind) => {
    const key = `auditEvents.${AuditEventKind[kind]}`;
    return i18n.exists(key) ? t(key) : t("security.unknownEvent");
  };

  return (
    <>
      {listing.error && <Notice>{text(listing.error)}</Notice>}
      <ul className="flex flex-col divide-y divide-line">
        {events.map((event) => (
          <li key={event.eventId} className="py-3">
            <p>{said(event.kind)}</p>
            <p className="truncate text-sm text-muted">
              {event.createTime && times.format(timestampDate(event.createTime))} · {event.network} ·{" "}
              {event.device === "unknown" ? t("account.unknownDevice") : event.device}
            </p>
          </li>
        ))}
      </ul>
      <MoreButton listing={listing}>{t("security.more")}</MoreButton>
    </>
  );
}
