import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { enterprise } from "@/api/subscriptions";
import { Button, MoreButton } from "@/components/ui";
import type { EnterpriseLead } from "@/gen/pingvas/payment/v1/enterprise_pb";
import { Refusal } from "../Refusal";
import { ContractDialog } from "./ContractDialog";

const PAGE = 50;

/** Who asked for the enterprise plan, the newest first, and the contracts that are made of it. */
export function LeadsSection() {
  const { t } = useTranslation();
  const [chosen, choose] = useState<EnterpriseLead>();
  const listing = useInfiniteQuery({
    queryKey: ["admin", "leads"],
    queryFn: ({ pageParam }) => enterprise.listEnterpriseLeads({ pageSize: PAGE, pageToken: pageParam }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: 0,
  });
  const leads = listing.data?.pages.flatMap((page) => page.leads) ?? [];
  return (
    <section className="flex flex-col gap-4">
      <Refusal error={listing.error} />
      {listing.isSuccess && leads.length === 0 && <p className="text-muted">{t("leads.none")}</p>}
      <ul className="grid gap-4 md:grid-cols-2">
        {leads.map((lead) => (
          <Lead key={lead.leadId} lead={lead} onActivate={() => choose(lead)} />
        ))}
      </ul>
      <MoreButton listing={listing}>{t("admin.more")}</MoreButton>
      {chosen && <ContractDialog lead={chosen} onClose={() => choose(undefined)} />}
    </section>
  );
}

function Lead({ lead, onActivate }: { lead: EnterpriseLead; onActivate: () => void }) {
  const { t, i18n } = useTranslation();
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium", timeStyle: "short" });
  return (
    <li className="flex flex-col gap-3 rounded-2xl border border-line bg-surface p-5">
      <div className="flex flex-wrap items-baseline justify-between gap-x-4">
        <h3 className="min-w-0 font-medium break-words">{lead.company}</h3>
        <span className="text-sm text-muted tabular-nums">
          {lead.createTime && times.format(timestampDate(lead.createTime))}
        </span>
      </div>
      <p className="flex-1 break-words whitespace-pre-line">{lead.message}</p>
      <p className="text-sm break-all text-muted">
        {lead.contact && <span className="block">{lead.contact}</span>}
        <Link
          to="/admin/$section"
          params={{ section: "people" }}
          search={{ find: lead.accountId }}
          className="underline"
        >
          {lead.accountId}
        </Link>
      </p>
      <Button
        className="self-start"
        aria-label={t("leads.activateFor", { company: lead.company })}
        onClick={onActivate}
      >
        {t("leads.activate")}
      </Button>
    </li>
  );
}
