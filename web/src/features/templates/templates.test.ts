import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { TemplateSchema, TemplateVariableSchema } from "@/gen/pingvas/gallery/v1/template_pb";
import { byCategory, startingValues } from "./templates";

test("a form begins with defaults, and with the first choice where there is none", () => {
  const variables = [
    create(TemplateVariableSchema, { name: "what" }),
    create(TemplateVariableSchema, { name: "ground", defaultValue: "stone", choices: [{ value: "wood" }] }),
    create(TemplateVariableSchema, { name: "light", choices: [{ value: "soft" }, { value: "hard" }] }),
  ];
  expect(startingValues(variables)).toEqual({ what: "", ground: "stone", light: "soft" });
});

test("templates stand in the groups of their categories, and own ones in a group of theirs", () => {
  const template = (templateId: string, category: string, shipped = true) =>
    create(TemplateSchema, { templateId, shipped, content: { category } });
  const found = [
    template("a", "product"),
    template("b", "brand"),
    template("c", "product"),
    template("d", "x", false),
  ];
  const groups = byCategory(found).map(([category, each]) => [category, each.map((one) => one.templateId)]);
  expect(groups).toEqual([
    ["product", ["a", "c"]],
    ["brand", ["b"]],
    ["own", ["d"]],
  ]);
});
