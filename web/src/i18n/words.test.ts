import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import mainEn from "./en.json";
import mainKo from "./ko.json";
import platformEn from "./platform.en.json";
import platformKo from "./platform.ko.json";

const en = { ...mainEn, ...platformEn };
const ko = { ...mainKo, ...platformKo };

type Words = { [key: string]: string | Words };

const SOURCES = join(import.meta.dirname, "..");

test("the words of the platform's pages share no group with the others, which would replace it", () => {
  expect(Object.keys(platformEn).filter((group) => group in mainEn)).toEqual([]);
});

test("both languages have the same words, with the same values in them", () => {
  const [english, korean] = [flat(en), flat(ko)];
  expect([...korean.keys()].sort()).toEqual([...english.keys()].sort());
  for (const [key, text] of english) expect(valuesIn(korean.get(key) ?? ""), key).toEqual(valuesIn(text));
});

test("every word that the page uses is there, and none is there that it doesn't use", () => {
  const sources = readdirSync(SOURCES, { recursive: true, encoding: "utf8" })
    .filter((path) => /\.tsx?$/.test(path) && !path.startsWith("gen") && !path.endsWith(".test.ts"))
    .map((path) => readFileSync(join(SOURCES, path), "utf8"))
    .join("\n");
  const used = new Set([...sources.matchAll(/\bt\(\s*"([\w.]+)"/g)].map(([, key]) => key));
  // Keys that are put together: `nav.${key}` and `problem.${reason}`.
  const dynamic = [...sources.matchAll(/[`"](\w+)\.\$\{/g)].map(([, group]) => group);
  const known = [...flat(en).keys()];
  expect([...used].filter((key) => key && !known.includes(key))).toEqual([]);
  expect(known.filter((key) => !used.has(key) && !dynamic.includes(key.split(".")[0]))).toEqual([]);
});

/** The words by their keys. Of the plural forms of a key, which differ from language to language, the last one stands for all. */
function flat(words: Words, prefix = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of Object.entries(words)) {
    if (typeof value === "string")
      found.set(prefix + key.replace(/_(zero|one|two|few|many|other)$/, ""), value);
    else for (const [inner, text] of flat(value, `${prefix}${key}.`)) found.set(inner, text);
  }
  return found;
}

function valuesIn(text: string): string[] {
  return [...text.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name ?? "").sort();
}
