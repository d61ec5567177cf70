import { Download, FileArchive, X } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText } from "@/app/useProblem";
import { Button, IconButton, Notice } from "@/components/ui";
import { ExportState, type ImageExport } from "@/gen/pingvas/gallery/v1/export_pb";
import { isOpen, type Selection, useExportCreation, useExportDeletion, useExports } from "./exports";

/** As many as one request can name. */
const MOST_SELECTED = 1000;

/** Has a zip made of pictures. */
export function ExportButton({ selection }: { selection: Selection }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const creating = useExportCreation();
  const isTooMuch = "imageIds" in selection && selection.imageIds.length > MOST_SELECTED;
  // Another selection is another request; the same one that is sent again makes no second zip.
  const asked = JSON.stringify(selection);
  const [request, setRequest] = useState({ asked, id: crypto.randomUUID() });
  function create() {
    const requestId = request.asked === asked ? request.id : crypto.randomUUID();
    setRequest({ asked, id: requestId });
    creating.mutate(
      { selection, requestId },
      { onSuccess: () => setRequest({ asked, id: crypto.randomUUID() }) },
    );
  }
  return (
    <>
      <Button disabled={creating.isPending || isTooMuch} onClick={create}>
        <FileArchive className="size-4" aria-hidden />
        {"imageIds" in selection ? t("exports.selected") : t("exports.listed")}
      </Button>
      {creating.error && <Notice>{text(creating.error)}</Notice>}
    </>
  );
}

/** The zips that are being made or can be downloaded. */
export function Exports() {
  const { t } = useTranslation();
  const { data: found = [] } = useExports();
  if (found.length === 0) return null;
  return (
    <ul aria-label={t("exports.title")} className="flex flex-col border-b border-line bg-surface px-4 py-1">
      {found.map((each) => (
        <Zip key={each.exportId} zip={each} />
      ))}
    </ul>
  );
}

function Zip({ zip }: { zip: ImageExport }) {
  const { t, i18n } = useTranslation();
  const deleting = useExportDeletion();
  const size = (Number(zip.sizeBytes) / 1024 ** 2).toLocaleString(i18n.language, {
    maximumFractionDigits: 1,
  });
  return (
    <li className="flex flex-wrap items-center gap-3 py-1 text-sm">
      <span className="tabular-nums">{t("exports.pictures", { count: zip.imageCount })}</span>
      {isOpen(zip) && (
        <progress
          aria-label={t("exports.progress")}
          value={zip.doneCount}
          max={zip.imageCount}
          className="h-2 w-40 accent-accent"
        />
      )}
      {zip.state === ExportState.FAILED && <span className="text-danger">{t("exports.failed")}</span>}
      {zip.state === ExportState.READY && (
        <a href={zip.downloadUrl} className="inline-flex items-center gap-1.5 font-medium text-accent">
          <Download className="size-4" aria-hidden />
          {t("exports.download", { size })}
        </a>
      )}
      {zip.leftOutCount > 0 && (
        <span className="text-muted">{t("exports.leftOut", { count: zip.leftOutCount })}</span>
      )}
      <span className="flex-1" />
      <IconButton
        label={t("exports.delete")}
        disabled={deleting.isPending}
        onClick={() => deleting.mutate(zip.exportId)}
      >
        <X className="size-4" aria-hidden />
      </IconButton>
    </li>
  );
}
