import { useNavigate } from "@tanstack/react-router";
import clsx from "clsx";
import { type KeyboardEvent, useId, useState } from "react";
import { useTranslation } from "react-i18next";
import { signOut } from "@/api/session";
import { Dialog } from "@/components/Dialog";
import { Input } from "@/components/ui";
import { isComposing } from "@/features/generate/submitKey";
import { LANGUAGES, type Language } from "@/i18n";
import { speak } from "./language";
import { switchTheme } from "./theme";

interface Command {
  name: string;
  run: () => void;
}

/** Everything that the header and the navigation do, found by typing a part of its name. */
export function Palette({ onClose, onShortcuts }: { onClose: () => void; onShortcuts: () => void }) {
  const { t } = useTranslation();
  const listId = useId();
  const [wanted, want] = useState("");
  const [at, setAt] = useState(0);
  const commands = useCommands(onShortcuts).filter(({ name }) => isMeant(name, wanted));
  const chosen = Math.min(at, commands.length - 1);

  function run(command: Command | undefined) {
    if (!command) return;
    onClose();
    command.run();
  }

  function press(event: KeyboardEvent) {
    if (isComposing(event.nativeEvent)) return;
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };
    const step = steps[event.key];
    if (step && commands.length > 0) setAt((chosen + step + commands.length) % commands.length);
    else if (event.key === "Enter") run(commands[chosen]);
    else return;
    event.preventDefault();
  }

  return (
    <Dialog label={t("palette.title")} onClose={onClose}>
      <Input
        role="combobox"
        aria-label={t("palette.search")}
        aria-expanded
        aria-controls={listId}
        aria-activedescendant={commands.length > 0 ? `${listId}-${chosen}` : undefined}
        autoComplete="off"
        autoFocus
        placeholder={t("palette.search")}
        value={wanted}
        onChange={(event) => {
          want(event.target.value);
          setAt(0);
        }}
        onKeyDown={press}
      />
      <div id={listId} role="listbox" aria-label={t("palette.title")} className="mt-3 flex flex-col">
        {commands.map((command, index) => (
          // biome-ignore lint/a11y/useFocusableInteractive lint/a11y/useKeyWithClickEvents: the field takes the keys
          <div
            key={command.name}
            id={`${listId}-${index}`}
            role="option"
            aria-selected={index === chosen}
            className={clsx("cursor-pointer rounded-lg px-3 py-2", index === chosen && "bg-raised")}
            onClick={() => run(command)}
            onPointerMove={() => setAt(index)}
          >
            {command.name}
          </div>
        ))}
      </div>
      {commands.length === 0 && <p className="px-3 py-2 text-muted">{t("palette.none")}</p>}
    </Dialog>
  );
}

function useCommands(onShortcuts: () => void): Command[] {
  const { t, i18n } = useTranslation();
  const navigate = useNavigate();
  const go = (to: "/" | "/gallery" | "/models" | "/billing" | "/account") => () => void navigate({ to });
  const others = (Object.keys(LANGUAGES) as Language[]).filter((language) => language !== i18n.language);
  return [
    { name: t("palette.prompt"), run: () => void navigate({ to: "/" }).then(focusPrompt) },
    { name: t("nav.generate"), run: go("/") },
    { name: t("nav.gallery"), run: go("/gallery") },
    { name: t("models.title"), run: go("/models") },
    { name: t("billing.title"), run: go("/billing") },
    { name: t("account.title"), run: go("/account") },
    { name: t("app.theme"), run: switchTheme },
    ...others.map((language) => ({
      name: `${t("app.language")}: ${LANGUAGES[language]}`,
      run: () => speak(language),
    })),
    { name: t("shortcuts.title"), run: onShortcuts },
    { name: t("app.signOut"), run: () => void signOut() },
  ];
}

function isMeant(name: string, wanted: string): boolean {
  return name.toLocaleLowerCase().includes(wanted.trim().toLocaleLowerCase());
}

/** As soon as the page that has it has been drawn; a person who has gone elsewhere meanwhile is left alone. */
function focusPrompt(): void {
  const prompt = document.querySelector<HTMLElement>("textarea[name=prompt]");
  if (prompt) prompt.focus();
  else if (location.pathname === "/") requestAnimationFrame(focusPrompt);
}
