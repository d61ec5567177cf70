import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { auditLog } from "@/api/admin";
import { MoreButton, Select } from "@/components/ui";
import { type AuditEvent, AuditEventKind } from "@/gen/pingvas/user/v1/audit_event_pb";
import { Finder } from "./Finder";
import { namesOf } from "./names";
import { Refusal } from "./Refusal";

const PAGE = 50;
const KINDS = namesOf(AuditEventKind);

const route = getRouteApi("/inside/admin/$section");

/** What was done to one account or to all, the newest first. */
export function AuditSection() {
  const { t } = useTranslation();
  const { find = "", kind = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const listing = useInfiniteQuery({
    queryKey: ["admin", "auditEvents", find, kind],
    queryFn: ({ pageParam }) =>
      auditLog.listAllAuditEvents({
        accountId: find,
        kind: AuditEventKind[kind as keyof typeof AuditEventKind] ?? AuditEventKind.UNSPECIFIED,
        pageSize: PAGE,
        pageToken: pageParam,
      }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: 0,
  });
  const events = listing.data?.pages.flatMap((page) => page.events) ?? [];
  return (
    <section className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center gap-3">
        <Finder
          label={t("admin.accountId")}
          value={find}
          onFind={(text) => void navigate({ search: (before) => ({ ...before, find: text }) })}
        />
        <Select
          className="w-auto! max-w-72"
          aria-label={t("admin.kind")}
          value={kind}
          onChange={(event) =>
            void navigate({ search: (before) => ({ ...before, kind: event.target.value }) })
          }
        >
          <option value="">{t("admin.anyKind")}</option>
          {KINDS.map((name) => (
            <option key={name} value={name}>
              {t(`auditEvents.${name}`)}
            </option>
          ))}
        </Select>
      </div>
      <Refusal error={listing.error} />
      {listing.isSuccess && events.length === 0 && <p className="text-muted">{t("admin.nothingFound")}</p>}
      <ul className="flex flex-col divide-y divide-line rounded-2xl border border-line bg-surface empty:hidden">
        {events.map((event) => (
          <Entry key={event.eventId} event={event} />
        ))}
      </ul>
      <MoreButton listing={listing}>{t("admin.more")}</MoreButton>
    </section>
  );
}

function Entry({ event }: { event: AuditEvent }) {
  const { t, i18n } = useTranslation();
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium", timeStyle: "medium" });
  const key = `auditEvents.${AuditEventKind[event.kind]}`;
  const names = [...new Set([...Object.keys(event.before), ...Object.keys(event.after)])].sort();
  return (
    <li className="flex flex-col gap-1 px-5 py-3">
      <p className="flex flex-wrap items-baseline justify-between gap-x-4">
        <span className="font-medium">{i18n.exists(key) ? t(key) : t("security.unknownEvent")}</span>
        <span className="text-sm text-muted tabular-nums">
          {event.createTime && times.format(timestampDate(event.createTime))}
        </span>
      </p>
      <p className="text-sm break-all text-muted">
        {event.accountId || t("admin.noAccount")} · {event.actor} · {event.network} · {event.device}
      </p>
      {names.map((name) => (
        <p key={name} className="font-mono text-sm break-all">
          {name}: {event.before[name] ?? "–"} → {event.after[name] ?? "–"}
        </p>
      ))}
    </li>
  );
}
