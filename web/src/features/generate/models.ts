/** What the catalogue and the person's plan have for the form. */

import { useQuery } from "@tanstack/react-query";
import { credits, models } from "@/api/clients";
import { usePlans } from "@/features/billing/billing";
import { type Model, ModelKind } from "@/gen/pingvas/models/v1/model_pb";
import type { TierLimits } from "@/gen/pingvas/payment/v1/entitlement_pb";
import type { Plan } from "@/gen/pingvas/payment/v1/subscription_pb";

const PAGE = 200;

/** Everything in the catalogue that the person's tier reaches. */
export function useModels() {
  return useQuery({
    queryKey: ["models"],
    queryFn: async () => {
      const found: Model[] = [];
      let pageToken = "";
      do {
        const page = await models.listModels({ pageSize: PAGE, pageToken });
        found.push(...page.models);
        pageToken = page.nextPageToken;
      } while (pageToken);
      return found;
    },
  });
}

export function checkpointsOf(models: readonly Model[]): Model[] {
  return models.filter(({ kind }) => kind !== ModelKind.LORA);
}

export function lorasOf(models: readonly Model[]): Model[] {
  return models.filter(({ kind }) => kind === ModelKind.LORA);
}

/** The model that a draft means. Which one the platform takes by default isn't told, unless there is only one. */
export function modelOf(models: readonly Model[], modelId: string): Model | undefined {
  const checkpoints = checkpointsOf(models);
  if (modelId) return checkpoints.find((model) => model.modelId === modelId);
  return checkpoints.length === 1 ? checkpoints[0] : undefined;
}

/** What the person's tier allows; undefined as long as that isn't known. */
export function useLimits(): TierLimits | undefined {
  const { own } = useTierPlans();
  return own?.limits;
}

/** Families that other plans have and the person's doesn't, each with the smallest plan that has it. */
export function useFamiliesElsewhere(): { family: string; planId: string }[] {
  const { own, plans } = useTierPlans();
  return own ? familiesElsewhere(own, plans) : [];
}

export function familiesElsewhere(own: Plan, plans: readonly Plan[]): { family: string; planId: string }[] {
  const found = new Map(own.limits?.modelFamilies.map((family) => [family, ""]));
  for (const { limits, planId } of [...plans].sort((one, other) => one.tier - other.tier)) {
    for (const family of limits?.modelFamilies ?? []) {
      if (!found.has(family)) found.set(family, planId);
    }
  }
  return [...found].flatMap(([family, planId]) => (planId ? [{ family, planId }] : []));
}

function useTierPlans(): { own: Plan | undefined; plans: readonly Plan[] } {
  const { data: plans = [] } = usePlans();
  const { data: balance } = useQuery({ queryKey: ["balance"], queryFn: () => credits.getBalance({}) });
  return { own: plans.find(({ tier }) => tier === balance?.tier), plans };
}
