import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { users } from "@/api/clients";
import { signOut } from "@/api/session";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";

const MOST_SESSIONS = 200;

/** Where somebody is signed in, with the means to end it there. */
export function Sessions() {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { data, error } = useQuery({
    queryKey: ["sessions"],
    queryFn: () => users.listSessions({ pageSize: MOST_SESSIONS }),
  });
  const reload = () => queries.invalidateQueries({ queryKey: ["sessions"] });
  const ending = useMutation({
    mutationFn: (sessionId: string) => users.revokeSession({ sessionId }),
    onSettled: reload,
  });
  const endingOthers = useMutation({
    mutationFn: () => users.revokeSessions({ keepCurrent: true }),
    onSettled: reload,
  });
  const problem = error ?? ending.error ?? endingOthers.error;
  const sessions = data?.sessions ?? [];
  const times = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium", timeStyle: "short" });

  return (
    <>
      {problem && <Notice>{text(problem)}</Notice>}
      <ul className="flex flex-col divide-y divide-line">
        {sessions.map((session) => (
          <li key={session.sessionId} className="flex items-center gap-3 py-3">
            <div className="min-w-0 flex-1">
              <p className="truncate">
                {session.device === "unknown" ? t("account.unknownDevice") : session.device}
                {session.isCurrent && (
                  <span className="ml-2 text-sm text-accent">{t("account.thisSession")}</span>
                )}
              </p>
              <p className="truncate text-sm text-muted">
                {session.network}
                {session.lastSeenTime &&
                  ` · ${t("account.lastSeen", { time: times.format(timestampDate(session.lastSeenTime)) })}`}
              </p>
            </div>
            <Button
              kind="danger"
              disabled={ending.isPending}
              onClick={() => (session.isCurrent ? void signOut() : ending.mutate(session.sessionId))}
            >
              {session.isCurrent ? t("app.signOut") : t("account.endSession")}
            </Button>
          </li>
        ))}
      </ul>
      {sessions.length > 1 && (
        <Button
          className="self-start"
          disabled={endingOthers.isPending}
          onClick={() => endingOthers.mutate()}
        >
          {t("account.endOthers")}
        </Button>
      )}
    </>
  );
}
