import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { generation } from "@/api/clients";
import { templates } from "@/api/templates";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice, Select } from "@/components/ui";
import { changeDraft, currentDraft } from "@/features/generate/draft";
import { useLimits } from "@/features/generate/models";
import type { Template, TemplateVariable } from "@/gen/pingvas/gallery/v1/template_pb";
import { startingValues } from "./templates";

const BLOCK_PX = 8;

/** Asks for the variables of a template and puts what comes of it into the form of the job. */
export function FillForm({
  template,
  onBack,
  onDone,
}: {
  template: Template;
  onBack: () => void;
  onDone: () => void;
}) {
  const { t } = useTranslation();
  const text = useProblemText();
  const variables = template.content?.variables ?? [];
  const [values, setValues] = useState(() => startingValues(variables));
  const largestPx = useLimits()?.largestSidePx;
  const takesPrompt = template.content?.prompt.includes("{{prompt}}") ?? false;
  const filling = useMutation({
    mutationFn: () =>
      templates.fillTemplate({
        templateId: template.templateId,
        values: Object.entries(values).map(([name, value]) => ({ name, value })),
        prompt: takesPrompt ? currentDraft().prompt : "",
      }),
    onSuccess: async ({ prompt, negativePrompt, sizePreset }) => {
      const size = sizePreset ? await sizeOf(sizePreset, largestPx) : {};
      changeDraft({ prompt, negativePrompt, ...size, templateId: template.templateId });
      onDone();
    },
  });
  const isShownAtField = variables.some(({ name }) => violationOf(filling.error, name));

  function submit(event: FormEvent) {
    event.preventDefault();
    filling.mutate();
  }
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      {template.content?.description && <p className="text-sm text-muted">{template.content.description}</p>}
      {variables.map((variable) => (
        <Variable
          key={variable.name}
          variable={variable}
          value={values[variable.name] ?? ""}
          problem={violationOf(filling.error, variable.name)}
          onValue={(value) => setValues((now) => ({ ...now, [variable.name]: value }))}
        />
      ))}
      {filling.error && !isShownAtField && <Notice>{text(filling.error)}</Notice>}
      <div className="flex justify-end gap-2">
        <Button onClick={onBack}>{t("templates.back")}</Button>
        <Button type="submit" kind="primary" disabled={filling.isPending}>
          {t("templates.use")}
        </Button>
      </div>
    </form>
  );
}

function Variable({
  variable,
  value,
  problem,
  onValue,
}: {
  variable: TemplateVariable;
  value: string;
  problem: string | undefined;
  onValue: (value: string) => void;
}) {
  return (
    <Field label={variable.label || variable.name} problem={problem}>
      {(ids) =>
        variable.choices.length > 0 ? (
          <Select {...ids} value={value} onChange={(event) => onValue(event.target.value)}>
            {variable.choices.map((choice) => (
              <option key={choice.value} value={choice.value}>
                {choice.label || choice.value}
              </option>
            ))}
          </Select>
        ) : (
          <Input {...ids} maxLength={200} value={value} onChange={(event) => onValue(event.target.value)} />
        )
      }
    </Field>
  );
}

/** The size that a name stands for, made smaller where the plan asks for it. */
async function sizeOf(name: string, largestPx: number | undefined) {
  const { sizePresets } = await generation.listSizePresets({ pageSize: 200 });
  const found = sizePresets.find((preset) => preset.name === name);
  if (!found) return {};
  const longest = Math.max(found.widthPx, found.heightPx);
  const scale = Math.min(1, (largestPx || longest) / longest);
  const side = (px: number) => Math.floor((px * scale) / BLOCK_PX) * BLOCK_PX;
  return { widthPx: side(found.widthPx), heightPx: side(found.heightPx) };
}
