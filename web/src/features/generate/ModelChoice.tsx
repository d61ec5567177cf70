import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { Field, Select } from "@/components/ui";
import type { Model } from "@/gen/pingvas/models/v1/model_pb";
import { changeDraft, type Draft } from "./draft";
import { checkpointsOf, modelOf, useFamiliesElsewhere } from "./models";

/** The model, what is known of it, and which families other plans have. */
export function ModelChoice({ models, draft }: { models: Model[]; draft: Draft }) {
  const { t } = useTranslation();
  const elsewhere = useFamiliesElsewhere();
  const model = modelOf(models, draft.modelId);
  return (
    <div className="flex flex-col gap-1.5">
      <Field label={t("generate.model")}>
        {(ids) => (
          <Select
            {...ids}
            value={draft.modelId}
            onChange={(event) => changeDraft({ modelId: event.target.value, scheduler: "" })}
          >
            <option value="">{t("generate.defaultModel")}</option>
            {checkpointsOf(models).map(({ modelId, displayName }) => (
              <option key={modelId} value={modelId}>
                {displayName}
              </option>
            ))}
          </Select>
        )}
      </Field>
      {model && (
        <p className="text-xs text-muted tabular-nums">
          {[
            t("generate.family", { family: model.family }),
            t("generate.licence", { licence: model.licence }),
            `${model.nativeWidthPx} × ${model.nativeHeightPx}`,
          ].join(" · ")}
        </p>
      )}
      {elsewhere.length > 0 && (
        <details className="text-xs text-muted">
          <summary className="cursor-pointer">{t("generate.lacks", { count: elsewhere.length })}</summary>
          <ul className="mt-1 flex flex-col gap-0.5">
            {elsewhere.map(({ family, planId }) => (
              <li key={family}>{t("generate.lacksFamily", { family, plan: planId })}</li>
            ))}
          </ul>
          <Link to="/billing" className="text-accent underline">
            {t("billing.plans")}
          </Link>
        </details>
      )}
    </div>
  );
}
