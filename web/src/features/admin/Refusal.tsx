import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { problemOf } from "@/api/problem";
import { useProblemText } from "@/app/useProblem";

/** What an administration call was refused with, and the way to what it lacks. */
export function Refusal({ error }: { error: unknown }) {
  const { t } = useTranslation();
  const text = useProblemText();
  if (!error) return null;
  return (
    <div role="alert" className="rounded-lg border border-danger/50 bg-raised px-3 py-2 text-sm text-danger">
      <p>{text(error)}</p>
      {problemOf(error).reason === "SECOND_FACTOR_REQUIRED" && (
        <Link to="/account/security" className="underline">
          {t("admin.toSecondFactor")}
        </Link>
      )}
    </div>
  );
}
