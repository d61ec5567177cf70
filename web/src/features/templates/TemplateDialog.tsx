import { Download, Trash2, Upload } from "lucide-react";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText } from "@/app/useProblem";
import { Dialog } from "@/components/Dialog";
import { Button, Field, IconButton, Input, Notice } from "@/components/ui";
import { useDraft } from "@/features/generate/draft";
import { type Template, TemplateKind } from "@/gen/pingvas/gallery/v1/template_pb";
import { FillForm } from "./FillForm";
import {
  byCategory,
  exportedTemplates,
  useTemplateCreation,
  useTemplateDeletion,
  useTemplateImport,
  useTemplates,
} from "./templates";

/** Offers templates, and then the form of the one that was chosen. */
export function TemplateDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const [chosen, setChosen] = useState<Template>();
  if (chosen?.content) {
    return (
      <Dialog label={chosen.content.name} onClose={onClose}>
        <FillForm template={chosen} onBack={() => setChosen(undefined)} onDone={onClose} />
      </Dialog>
    );
  }
  return (
    <Dialog label={t("templates.title")} onClose={onClose}>
      <Groups onChoose={setChosen} />
      <Saving />
      <Files />
    </Dialog>
  );
}

function Groups({ onChoose }: { onChoose: (template: Template) => void }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const { data: found = [], error } = useTemplates();
  const deleting = useTemplateDeletion();
  const problem = deleting.error ?? error;
  const named = (category: string) => {
    const key = `templateCategory.${category}`;
    return i18n.exists(key) ? t(key) : category;
  };
  return (
    <div className="flex flex-col gap-4">
      {problem && <Notice>{text(problem)}</Notice>}
      {byCategory(found.filter(({ content }) => content?.kind === TemplateKind.PROMPT)).map(
        ([category, group]) => (
          <section key={category} aria-label={named(category)}>
            <h3 className="mb-2 text-sm font-medium text-muted">{named(category)}</h3>
            <ul className="grid gap-2 sm:grid-cols-2">
              {group.map((template) => (
                <li key={template.templateId} className="flex items-start rounded-lg border border-line">
                  <button
                    type="button"
                    className="flex min-w-0 flex-1 gap-3 rounded-lg p-3 text-left hover:bg-raised"
                    onClick={() => onChoose(template)}
                  >
                    {template.exampleThumbnailUrl && (
                      <img
                        src={template.exampleThumbnailUrl}
                        alt=""
                        className="size-12 rounded-md object-cover"
                      />
                    )}
                    <span className="min-w-0">
                      <span className="block font-medium">{template.content?.name}</span>
                      <span className="line-clamp-2 text-sm text-muted">
                        {template.content?.description || template.content?.prompt}
                      </span>
                      {template.useCount > 0 && (
                        <span className="text-xs text-muted">
                          {t("templates.uses", { count: template.useCount })}
                        </span>
                      )}
                    </span>
                  </button>
                  {!template.shipped && (
                    <IconButton
                      label={t("templates.delete", { name: template.content?.name })}
                      disabled={deleting.isPending}
                      onClick={() => deleting.mutate(template.templateId)}
                    >
                      <Trash2 className="size-4" aria-hidden />
                    </IconButton>
                  )}
                </li>
              ))}
            </ul>
          </section>
        ),
      )}
    </div>
  );
}

/** Keeps the prompt that is written as a template. */
function Saving() {
  const { t } = useTranslation();
  const text = useProblemText();
  const { prompt, negativePrompt } = useDraft();
  const [name, setName] = useState("");
  const [requestId, setRequestId] = useState(() => crypto.randomUUID());
  const creating = useTemplateCreation();
  return (
    <form
      className="mt-5 flex flex-col gap-3 border-t border-line pt-4"
      onSubmit={(event) => {
        event.preventDefault();
        creating.mutate(
          { name, prompt, negativePrompt, requestId },
          {
            onSuccess: () => {
              setName("");
              setRequestId(crypto.randomUUID());
            },
          },
        );
      }}
    >
      <Field label={t("templates.saveAs")} hint={t("templates.saveHint")}>
        {(ids) => (
          <div className="flex gap-2">
            <Input
              {...ids}
              required
              maxLength={100}
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
            <Button type="submit" disabled={!prompt.trim() || creating.isPending}>
              {t("templates.save")}
            </Button>
          </div>
        )}
      </Field>
      {creating.error && <Notice>{text(creating.error)}</Notice>}
    </form>
  );
}

/** Takes own templates out as a file, and in again. */
function Files() {
  const { t } = useTranslation();
  const text = useProblemText();
  const importing = useTemplateImport();
  const chooser = useRef<HTMLInputElement>(null);

  async function download() {
    const url = URL.createObjectURL(await exportedTemplates());
    Object.assign(document.createElement("a"), { href: url, download: "templates.json" }).click();
    URL.revokeObjectURL(url);
  }
  return (
    <div className="mt-4 flex flex-wrap items-center gap-2">
      <Button kind="ghost" onClick={() => void download()}>
        <Download className="size-4" aria-hidden />
        {t("templates.export")}
      </Button>
      <Button kind="ghost" disabled={importing.isPending} onClick={() => chooser.current?.click()}>
        <Upload className="size-4" aria-hidden />
        {t("templates.import")}
      </Button>
      <input
        ref={chooser}
        type="file"
        accept="application/json"
        aria-label={t("templates.import")}
        className="hidden"
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = ""; // the same file may be chosen again
          if (file) importing.mutate(file);
        }}
      />
      {importing.data && (
        <Notice tone="plain">{t("templates.imported", { count: importing.data.createdCount })}</Notice>
      )}
      {importing.error && (
        <Notice>
          {importing.error instanceof SyntaxError ? t("templates.noFile") : text(importing.error)}
        </Notice>
      )}
    </div>
  );
}
