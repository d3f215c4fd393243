/** The page's language: words with their values, numbers and times. */

import * as kept from "./kept.js";
import { WORDS } from "./words.js";

let current = "en";
const rerenders = [];

export const language = () => current;

/** The user's choice, else the browser's first language that the page has, else English. */
export function preferred() {
  const wanted = [kept.read("language"), ...(navigator.languages ?? [navigator.language])];
  return wanted.map((tag) => String(tag).slice(0, 2).toLowerCase()).find((tag) => tag in WORDS) ?? "en";
}

export function setLanguage(tag) {
  current = tag in WORDS ? tag : "en";
  document.documentElement.lang = current;
  translate(document);
  for (const rerender of rerenders) rerender();
}

/** f is called after each change of the language. */
export function onLanguage(f) {
  rerenders.push(f);
}

/** word(name, {n: 3}): the sentence with its values. */
export function word(name, values = {}) {
  const sentence = WORDS[current][name];
  if (sentence === undefined) throw new Error(`words.js has no ${name}`);
  return sentence.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

/** The word of a name that the server gave, which may be of a later version. */
export function wordOr(name, otherwise) {
  return name in WORDS[current] ? word(name) : String(otherwise);
}

/** Fills the elements that name their words. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", word(node.dataset.label));
    if (node.matches("button")) node.title = word(node.dataset.label);
  }
  for (const node of root.querySelectorAll("[data-placeholder]")) node.placeholder = word(node.dataset.placeholder);
}

/** A number with at most `digits` decimals; a dash for what is not known. */
export function number(value, digits = 0) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  return new Intl.NumberFormat(current, { maximumFractionDigits: digits }).format(value);
}

/** Three significant digits: 1.23, 45.6, 789, 1.2M. */
export function brief(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  const form = Math.abs(value) >= 100_000 ? { notation: "compact", maximumSignificantDigits: 3 } : {};
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return new Intl.NumberFormat(current, { maximumFractionDigits: digits, ...form }).format(value);
}

export function bytes(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (value >= 1024 && power < units.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${number(value, value < 10 && power ? 1 : 0)} ${units[power]}`;
}

export function time(value) {
  const moment = new Date(typeof value === "number" ? value * 1000 : value);
  if (Number.isNaN(moment.getTime())) return String(value ?? "–");
  const today = moment.toDateString() === new Date().toDateString();
  return moment.toLocaleString(current, today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" });
}

export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days) return word("days_hours", { days, hours });
  if (hours) return word("hours_minutes", { hours, minutes });
  if (minutes) return word("minutes", { minutes });
  return word("seconds", { seconds: number(seconds, seconds < 10 ? 1 : 0) });
}
