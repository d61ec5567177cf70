import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { deletion } from "@/api/deletion";
import { renew, signOut } from "@/api/session";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { EntryCard } from "../EntryCard";

/** All that somebody sees whose account is closed: when it is erased, and how to keep it. */
export function ClosedPage() {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { data } = useQuery({ queryKey: ["deletion"], queryFn: () => deletion.getDeletion({}) });
  const keeping = useMutation({
    mutationFn: async () => {
      await deletion.cancelDeletion({});
      await renew();
    },
    onSuccess: () => queries.resetQueries(),
  });
  const day = data?.eraseTime && timestampDate(data.eraseTime);

  return (
    <EntryCard title={t("deletion.closedTitle")} onSubmit={() => keeping.mutate()}>
      {day && (
        <p>{t("deletion.closed", { day: day.toLocaleDateString(i18n.language, { dateStyle: "long" }) })}</p>
      )}
      {keeping.error && <Notice>{text(keeping.error)}</Notice>}
      <Button type="submit" kind="primary" disabled={keeping.isPending}>
        {t("deletion.keep")}
      </Button>
      <Button onClick={() => void signOut()}>{t("app.signOut")}</Button>
    </EntryCard>
  );
}
