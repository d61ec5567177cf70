import { users } from "@/api/clients";
import { chooseLanguage, type Language } from "@/i18n";

/** Changes the language of the page and of mails. */
export function speak(language: Language): void {
  // Without a connection it can't be fetched; the header says so already.
  void chooseLanguage(language).catch(() => undefined);
  // That mails don't speak it yet is nothing to stop for.
  void users.updateMe({ locale: language }).catch(() => undefined);
}
