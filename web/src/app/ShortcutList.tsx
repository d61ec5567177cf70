import { useTranslation } from "react-i18next";
import { Dialog } from "@/components/Dialog";
import { Button } from "@/components/ui";

/** Every key that means something, by the place where it does. */
export function ShortcutList({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const groups: [string, [string, string][]][] = [
    [
      t("shortcuts.everywhere"),
      [
        ["?", t("shortcuts.list")],
        ["Ctrl+K", t("shortcuts.palette")],
      ],
    ],
    [
      t("nav.generate"),
      [
        [t("generate.shortcut"), t("generate.submit")],
        ["Ctrl+↑ ↓", t("shortcuts.weigh")],
        ["Alt+↑ ↓", t("shortcuts.history")],
      ],
    ],
    [
      t("nav.gallery"),
      [
        ["Ctrl+A", t("shortcuts.selectAll")],
        ["Delete", t("gallery.delete")],
        ["Ctrl+Z", t("gallery.undo")],
        ["Esc", t("gallery.deselect")],
        ["C", t("shortcuts.compare")],
      ],
    ],
    [
      t("shortcuts.viewer"),
      [
        ["← →", t("shortcuts.neighbours")],
        ["F", t("gallery.star")],
        ["0–5", t("gallery.rating")],
        ["A", t("recipes.useAll")],
        ["R", t("recipes.useRemix")],
        ["P", t("recipes.usePrompt")],
        ["S", t("recipes.useSeed")],
        ["D", t("gallery.recallSize")],
        ["+ −", t("shortcuts.zoom")],
        ["Ctrl+Z", t("gallery.undo")],
        ["E", t("editor.open")],
      ],
    ],
    [
      t("editor.title"),
      [
        ["B, E", `${t("editor.brush")}, ${t("editor.eraser")}`],
        ["O, H", `${t("editor.frame")}, ${t("editor.move")}`],
        ["[ ]", t("editor.size")],
        ["{ }", t("editor.hardness")],
        ["G, I", `${t("editor.fill")}, ${t("editor.invert")}`],
        ["M", t("editor.showMask")],
        ["+ − 0 1", t("editor.zoom")],
        ["Ctrl+Z", t("editor.undo")],
        ["Ctrl+Shift+Z", t("editor.redo")],
      ],
    ],
  ];
  return (
    <Dialog label={t("shortcuts.title")} onClose={onClose}>
      <div className="flex flex-col gap-4">
        {groups.map(([place, keys]) => (
          <section key={place}>
            <h3 className="mb-1.5 text-sm font-medium text-muted">{place}</h3>
            <dl className="grid grid-cols-[8rem_1fr] gap-x-4 gap-y-1.5 text-sm">
              {keys.map(([key, meaning]) => (
                <div key={key} className="contents">
                  <dt>
                    <kbd className="rounded border border-line bg-raised px-1.5 py-0.5 font-sans">{key}</kbd>
                  </dt>
                  <dd>{meaning}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <Button onClick={onClose}>{t("recipes.close")}</Button>
      </div>
    </Dialog>
  );
}
