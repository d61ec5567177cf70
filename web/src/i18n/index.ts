/** The words of the page, in every language that it speaks. Only those of the language that is used are loaded. */

import i18next from "i18next";
import { initReactI18next } from "react-i18next";

export const LANGUAGES = { en: "English", ko: "한국어" } as const;
export type Language = keyof typeof LANGUAGES;

const PREFERENCE = "pingvas.language";
/** Words of pages that few open, which come with those pages. */
const PLATFORM = { en: () => import("./platform.en.json"), ko: () => import("./platform.ko.json") };
let needsPlatform = false;

const LOADERS = { en: () => import("./en.json"), ko: () => import("./ko.json") };

/** Makes the page speak; nothing may be drawn before, or keys would be seen in place of words. */
export async function startLanguage(): Promise<void> {
  const language = preferred();
  const { default: translation } = await LOADERS[language]();
  await i18next.use(initReactI18next).init({
    resources: { [language]: { translation } },
    lng: language,
    fallbackLng: false, // every language has every word
    interpolation: { escapeValue: false }, // React escapes
  });
  document.documentElement.lang = language;
}

/** Returns a page about the platform itself once its words are here as well. */
export async function withPlatformWords<Page>(load: () => Promise<Page>): Promise<Page> {
  // Before the first wait: whoever changes the language meanwhile loads them too.
  needsPlatform = true;
  const [page] = await Promise.all([load(), addPlatformWords(i18next.language as Language)]);
  return page;
}

async function addPlatformWords(language: Language): Promise<void> {
  const { default: words } = await PLATFORM[language]();
  i18next.addResourceBundle(language, "translation", words);
}

/** Changes the language once its words are here; without them the page stays in the one that it speaks. */
export async function chooseLanguage(language: Language): Promise<void> {
  const { default: translation } = await LOADERS[language]();
  i18next.addResourceBundle(language, "translation", translation);
  if (needsPlatform) await addPlatformWords(language);
  await i18next.changeLanguage(language);
  localStorage.setItem(PREFERENCE, language);
  document.documentElement.lang = language;
}

function preferred(): Language {
  const chosen = localStorage.getItem(PREFERENCE) ?? navigator.language.slice(0, 2);
  return chosen in LANGUAGES ? (chosen as Language) : "en";
}
