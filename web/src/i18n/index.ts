/** The words of the page, in every language that it speaks. */

import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import en from "./en.json";
import ko from "./ko.json";

export const LANGUAGES = { en: "English", ko: "한국어" } as const;
export type Language = keyof typeof LANGUAGES;

const PREFERENCE = "pingvas.language";

export function startLanguage(): void {
  const language = preferred();
  void i18next.use(initReactI18next).init({
    resources: { en: { translation: en }, ko: { translation: ko } },
    lng: language,
    fallbackLng: "en",
    interpolation: { escapeValue: false }, // React escapes
  });
  document.documentElement.lang = language;
}

export function chooseLanguage(language: Language): void {
  localStorage.setItem(PREFERENCE, language);
  document.documentElement.lang = language;
  void i18next.changeLanguage(language);
}

function preferred(): Language {
  const chosen = localStorage.getItem(PREFERENCE) ?? navigator.language.slice(0, 2);
  return chosen in LANGUAGES ? (chosen as Language) : "en";
}
