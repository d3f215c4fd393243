/** The panel of settings: model, sampling, system prompt, schema, language, appearance. An empty field is not sent. */

import { byId, element } from "./dom.js";
import * as kept from "./kept.js";
import { language, number, onLanguage, setLanguage, word } from "./language.js";
import { LANGUAGES } from "./words.js";

const NUMBERS = [
  { name: "temperature", least: 0, most: 2, whole: false },
  { name: "top_p", least: 0, most: 1, whole: false },
  { name: "top_k", least: 0, most: 1_000_000, whole: true },
  { name: "seed", least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
  { name: "max_tokens", least: 1, most: 10_000_000, whole: true },
];

let values = kept.read("options", {});
let models = [];
let changed = () => {};

const input = (name) => byId(`option-${name}`);

/** 0,7 is a number too, where people write it so. */
const numberOf = (text) => Number(text.trim().replace(",", "."));

/** What is wrong with a field's text, in words, or null. */
function problem(name, text) {
  if (text.trim() === "") return null;
  if (name === "schema") {
    try {
      const schema = JSON.parse(text);
      return typeof schema === "object" && schema !== null && !Array.isArray(schema) ? null : word("schema_no_object");
    } catch (error) {
      return word("schema_no_json", { reason: error.message });
    }
  }
  const rule = NUMBERS.find((each) => each.name === name);
  if (!rule) return null;
  const value = numberOf(text);
  const right = value >= rule.least && value <= rule.most && (!rule.whole || Number.isInteger(value));
  const range = { least: number(rule.least), most: number(rule.most) };
  return right ? null : word(rule.whole ? "number_whole" : "number_range", range);
}

/** {body: a request's members, system}, or {wrong: the first field that is wrong}. */
export function settings() {
  const wrong = ["schema", ...NUMBERS.map((each) => each.name)].filter((name) => problem(name, values[name] ?? ""));
  if (wrong.length) return { wrong: wrong[0] };
  const body = {};
  if (model()) body.model = model();
  for (const { name } of NUMBERS) if ((values[name] ?? "").trim() !== "") body[name] = numberOf(values[name]);
  if ((values.schema ?? "").trim() !== "") {
    const schema = JSON.parse(values.schema);
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
  }
  return { body, system: (values.system ?? "").trim() };
}

/** The chosen model, or the first that the server has. */
export function model() {
  return models.some((each) => each.id === values.model) ? values.model : models[0]?.id;
}

export function setModels(list) {
  models = list;
  draw();
  changed();
}

export function focus(name) {
  input(name).focus();
}

function keep(name, text) {
  values = { ...values, [name]: text };
  kept.write("options", values);
  check(name);
  changed();
}

function check(name) {
  const place = byId(`option-${name}-problem`);
  if (!place) return;
  const said = problem(name, values[name] ?? "");
  place.textContent = said ?? "";
  place.hidden = !said;
  if (said) input(name).setAttribute("aria-invalid", "true");
  else input(name).removeAttribute("aria-invalid");
}

function field(name, control, hint = null) {
  const id = `option-${name}`;
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-problem`);
  control.addEventListener(control.matches("select") ? "change" : "input", () => keep(name, control.value));
  return element(
    "div",
    { class: "field" },
    element("label", { for: id }, word(`option_${name}`)),
    control,
    hint && element("p", { class: "hint", id: `${id}-hint` }, hint),
    element("p", { class: "problem", id: `${id}-problem`, hidden: true }),
  );
}

function choice(pairs, chosen) {
  const options = pairs.map(([value, text]) => element("option", { value, selected: value === chosen }, text));
  return element("select", {}, options);
}

function drawNumber({ name, whole }) {
  const properties = { type: "text", inputmode: whole ? "numeric" : "decimal", autocomplete: "off", spellcheck: "false" };
  return field(name, element("input", { ...properties, value: values[name] ?? "", placeholder: word("by_server") }));
}

function draw() {
  const focused = document.activeElement?.id;
  const names = models.map(({ id }) => [id, id]);
  const text = (name, rows, code) =>
    element("textarea", { rows, class: code && "mono", spellcheck: !code && "true", value: values[name] ?? "" });
  const themes = ["system", "light", "dark"].map((theme) => [theme, word(`theme_${theme}`)]);
  byId("option-fields").replaceChildren(
    element("h2", {}, word("options")),
    field("model", choice(names.length ? names : [["", word("no_models")]], model())),
    field("system", text("system", 3, false), word("system_hint")),
    element("div", { class: "pair" }, NUMBERS.map(drawNumber)),
    field("schema", text("schema", 5, true), word("schema_hint")),
    element("h2", {}, word("appearance")),
    element(
      "div",
      { class: "pair" },
      field("language", choice(Object.entries(LANGUAGES), language())),
      field("theme", choice(themes, values.theme ?? "system")),
    ),
  );
  for (const { name } of NUMBERS) check(name);
  check("schema");
  input("language").addEventListener("change", () => {
    kept.write("language", input("language").value);
    setLanguage(input("language").value);
  });
  input("theme").addEventListener("change", applyTheme);
  if (focused?.startsWith("option-")) byId(focused)?.focus();
}

export function applyTheme() {
  document.documentElement.dataset.theme = values.theme ?? "system";
}

/** f is called after each change. */
export function start(f) {
  changed = f;
  applyTheme();
  draw();
  onLanguage(draw);
}
