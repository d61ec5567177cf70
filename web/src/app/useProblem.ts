import { useTranslation } from "react-i18next";
import { type Problem, problemOf } from "@/api/problem";

/** The sentence that tells a person what happened and what to do; the server's own where there is no better one. */
export function useProblemText(): (error: unknown) => string {
  const { t, i18n } = useTranslation();
  return (error) => textOf(problemOf(error), (key, values) => (i18n.exists(key) ? t(key, values) : ""));
}

function textOf(problem: Problem, said: (key: string, values: Record<string, string>) => string): string {
  return said(`problem.${problem.reason}`, problem.metadata) || problem.message;
}

/** What the refusal says of one field; its path is that of the request, without the operation's name. */
export function violationOf(error: unknown, field: string): string | undefined {
  if (!error) return undefined;
  return problemOf(error).violations.find((violation) => violation.field.split(".").pop() === field)
    ?.description;
}
