import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { templates } from "@/api/templates";
import { type Template, TemplateKind, type TemplateVariable } from "@/gen/pingvas/gallery/v1/template_pb";
import { TemplateFileSchema } from "@/gen/pingvas/gallery/v1/template_service_pb";

const PAGE = 200;
const FRESH_MS = 120_000;
const TEMPLATES = "templates";

/** All templates and styles that the person can use, in the page's language. */
export function useTemplates() {
  const language = useTranslation().i18n.language.startsWith("ko") ? "ko" : "en";
  return useQuery({
    queryKey: [TEMPLATES, language],
    queryFn: async () => {
      const found: Template[] = [];
      let pageToken = "";
      do {
        const page = await templates.listTemplates({ pageSize: PAGE, pageToken, language });
        found.push(...page.templates);
        pageToken = page.nextPageToken;
      } while (pageToken);
      return found;
    },
    staleTime: FRESH_MS,
  });
}

/** Creates a template of the prompt that was written, with no variables. */
export function useTemplateCreation() {
  return useTemplateChange(
    (wish: { name: string; prompt: string; negativePrompt: string; requestId: string }) => {
      const { requestId, ...texts } = wish;
      return templates.createTemplate({ requestId, content: { kind: TemplateKind.PROMPT, ...texts } });
    },
  );
}

export function useTemplateDeletion() {
  return useTemplateChange((templateId: string) => templates.deleteTemplate({ templateId }));
}

/** Creates the templates of a file that the person hasn't. */
export function useTemplateImport() {
  return useTemplateChange(async (file: File) => {
    const document = JSON.parse(await file.text()) as JsonValue;
    return templates.importTemplates({ file: fromJson(TemplateFileSchema, document) });
  });
}

/** Returns the person's own templates as a file. */
export async function exportedTemplates(): Promise<Blob> {
  const document = toJson(TemplateFileSchema, await templates.exportTemplates({}), {
    useProtoFieldName: true,
  });
  return new Blob([JSON.stringify(document, null, 2)], { type: "application/json" });
}

/** The values that a form begins with: a variable of choices without a default has the first of them. */
export function startingValues(variables: readonly TemplateVariable[]): Record<string, string> {
  return Object.fromEntries(
    variables.map(({ name, defaultValue, choices }) => [name, defaultValue || choices[0]?.value || ""]),
  );
}

/** Templates by their categories, in the order in which they come. */
export function byCategory(found: readonly Template[]): [string, Template[]][] {
  const groups = new Map<string, Template[]>();
  for (const template of found) {
    const category = template.shipped ? (template.content?.category ?? "") : "own";
    groups.set(category, [...(groups.get(category) ?? []), template]);
  }
  return [...groups];
}

function useTemplateChange<Wish, Answer>(change: (wish: Wish) => Promise<Answer>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: () => queries.invalidateQueries({ queryKey: [TEMPLATES] }),
  });
}
