/** Dark or light: as the person chose, else as the system says. */

const PREFERENCE = "pingvas.theme";

export function startTheme(): void {
  const chosen = localStorage.getItem(PREFERENCE);
  const dark = chosen ? chosen === "dark" : !matchMedia("(prefers-color-scheme: light)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

export function switchTheme(): void {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem(PREFERENCE, next);
}
