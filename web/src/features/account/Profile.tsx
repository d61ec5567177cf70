import type { ChangeEvent, FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Input, Notice, Select } from "@/components/ui";
import type { User } from "@/gen/pingvas/user/v1/user_pb";
import { LANGUAGES } from "@/i18n";
import { Avatar } from "./Avatar";
import { useUpdateMe } from "./profile";

/** The name, the picture and the language of mails. */
export function Profile({ me }: { me: User }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const updating = useUpdateMe();
  const drawing = useUpdateMe();
  const nameProblem = violationOf(updating.error, "display_name");

  function save(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    updating.mutate({ displayName: String(values.get("name")), locale: String(values.get("locale")) });
  }
  async function choose(event: ChangeEvent<HTMLInputElement>) {
    const file = event.target.files?.[0];
    event.target.value = "";
    if (file) drawing.mutate({ avatar: new Uint8Array(await file.arrayBuffer()) });
  }

  return (
    <>
      <div className="flex flex-wrap items-center gap-4">
        <Avatar content={me.avatar} className="size-16 text-muted" />
        <label className="cursor-pointer rounded-lg border border-line bg-raised px-3.5 py-2 font-medium focus-within:outline-2">
          {t("profile.chooseAvatar")}
          <input
            type="file"
            accept="image/png,image/jpeg,image/webp"
            className="sr-only"
            onChange={(event) => void choose(event)}
          />
        </label>
        {me.avatar.length > 0 && (
          <Button kind="danger" onClick={() => drawing.mutate({ avatar: new Uint8Array() })}>
            {t("profile.removeAvatar")}
          </Button>
        )}
      </div>
      {drawing.error && <Notice>{text(drawing.error)}</Notice>}
      <form onSubmit={save} className="flex flex-col gap-3">
        <Field label={t("profile.name")} problem={nameProblem}>
          {(ids) => <Input {...ids} name="name" defaultValue={me.displayName} maxLength={80} required />}
        </Field>
        <Field label={t("profile.locale")}>
          {(ids) => (
            <Select {...ids} name="locale" defaultValue={me.locale}>
              {Object.entries(LANGUAGES).map(([locale, name]) => (
                <option key={locale} value={locale}>
                  {name}
                </option>
              ))}
            </Select>
          )}
        </Field>
        {updating.error && !nameProblem && <Notice>{text(updating.error)}</Notice>}
        {updating.isSuccess && <Notice tone="plain">{t("profile.saved")}</Notice>}
        <Button type="submit" className="self-start" disabled={updating.isPending}>
          {t("profile.save")}
        </Button>
      </form>
    </>
  );
}
