import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { library } from "@/api/library";
import { Notice } from "@/components/ui";

const GIB = 1024 ** 3;

/** Warns somebody whose pictures take more than their plan stores, with the day from which new work is refused. */
export function StorageWarning() {
  const { t, i18n } = useTranslation();
  const { data } = useQuery({ queryKey: ["storage"], queryFn: () => library.getStorageUsage({}) });
  if (!data?.overageStopTime) return null;
  const stop = timestampDate(data.overageStopTime);
  const gib = new Intl.NumberFormat(i18n.language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const values = {
    taken: gib.format(Number(data.imageBytes) / GIB),
    quota: gib.format(Number(data.quotaBytes) / GIB),
    day: stop.toLocaleDateString(i18n.language, { dateStyle: "long" }),
  };
  const isStopped = stop <= new Date();
  return (
    <Notice>{isStopped ? t("billing.storageStopped", values) : t("billing.storageOver", values)}</Notice>
  );
}
