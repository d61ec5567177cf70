import { LayoutTemplate } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import { Button, Field, Select } from "@/components/ui";
import { changeDraft, useDraft } from "@/features/generate/draft";
import { TemplateKind } from "@/gen/pingvas/gallery/v1/template_pb";
import { useTemplates } from "./templates";

const TemplateDialog = lazy(async () => ({ default: (await import("./TemplateDialog")).TemplateDialog }));

/** Where a prompt is begun from a template, and a style is put around it. */
export function PresetBar() {
  const { t } = useTranslation();
  const { styleId } = useDraft();
  const { data: found = [] } = useTemplates();
  const [isOpen, setIsOpen] = useState(false);
  const styles = found.filter(({ content }) => content?.kind === TemplateKind.STYLE);
  return (
    <div className="flex flex-col gap-3 px-4 pt-3">
      <Button onClick={() => setIsOpen(true)}>
        <LayoutTemplate className="size-4" aria-hidden />
        {t("templates.open")}
      </Button>
      <Field label={t("templates.style")}>
        {(ids) => (
          <Select {...ids} value={styleId} onChange={(event) => changeDraft({ styleId: event.target.value })}>
            <option value="">{t("templates.noStyle")}</option>
            {styles.map(({ templateId, content }) => (
              <option key={templateId} value={templateId}>
                {content?.name}
              </option>
            ))}
          </Select>
        )}
      </Field>
      {isOpen && (
        <Suspense>
          <TemplateDialog onClose={() => setIsOpen(false)} />
        </Suspense>
      )}
    </div>
  );
}
