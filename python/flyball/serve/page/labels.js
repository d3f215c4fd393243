/** Examples for people who label: one after another, decided by a button or a key, nothing of anybody's lost. */

import { words } from "./diff.js";
import { announce, byId, element } from "./dom.js";
import { number, onLanguage, time, word, wordOr } from "./language.js";
import { editor } from "./message.js";
import { explain, Failure, json } from "./server.js";

const STATES = ["proposed", "approved", "rejected", "held_out"];
const PAGE = 100;
const KEYS = { a: "approved", r: "rejected", h: "held_out" };

let hooks = { needKey() {} };
let state = "proposed";
let examples = [];
let counts = {};
let hasMore = false;
let at = 0;
let problem = null; // a failure's details
let notice = ""; // for the example that is shown
let unsaved = null; // {id, text}: what was written and could not be saved
let isBusy = false;

const isShown = () => location.hash === "#labels";
const current = () => examples[at];

export function start(given) {
  hooks = given;
  addEventListener("hashchange", () => isShown() && load());
  document.addEventListener("keydown", onKey);
  onLanguage(render);
  if (isShown()) load();
}

/** After the key was given. */
export function wake() {
  if (isShown()) load();
}

function onKey(event) {
  if (!isShown() || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest?.("input, textarea, select") || !current()) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "e") edit();
  else if (event.key in KEYS) decide(KEYS[event.key]);
  else return;
  event.preventDefault();
}

async function attempt(act) {
  if (isBusy) return;
  isBusy = true;
  problem = null;
  try {
    await act();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    problem = error.details;
    if (problem.kind === "key") hooks.needKey();
    announce(explain(problem));
  } finally {
    isBusy = false;
    render();
  }
}

function load(after = null) {
  return attempt(async () => {
    const more = after ? `&after=${encodeURIComponent(after)}` : "";
    const found = await json(`v1/examples?state=${state}&limit=${PAGE}${more}`);
    examples = after ? [...examples, ...found.data] : found.data;
    ({ counts, has_more: hasMore } = found);
    at = Math.max(0, Math.min(at, examples.length - 1));
  });
}

function choose(next) {
  [state, at, notice] = [next, 0, ""];
  load();
}

function move(by) {
  const next = at + by;
  if (next < 0 || next >= examples.length) return;
  [at, notice] = [next, ""];
  render();
  byId("labels").querySelector(".label")?.focus();
}

function decide(next) {
  return change({ state: next }, (changed) => {
    announce(word("label_done", { state: word(`label_${next}`) }));
    if (next === state) return;
    counts[state] -= 1;
    counts[next] += 1;
    examples = examples.filter((each) => each.id !== changed.id);
    at = Math.max(0, Math.min(at, examples.length - 1));
  });
}

/** Sends a change of the example that was looked at; what somebody else changed before is shown instead. */
function change(members, then) {
  const example = current();
  notice = "";
  return attempt(async () => {
    const path = `v1/examples/${encodeURIComponent(example.id)}`;
    try {
      const changed = await json(path, { method: "PATCH", body: { version: example.version, ...members } });
      put(changed);
      if (unsaved?.id === example.id) unsaved = null;
      then(changed);
    } catch (error) {
      if (members.answer !== undefined) unsaved = { id: example.id, text: members.answer };
      if (!(error instanceof Failure) || error.details.kind !== "conflict") throw error;
      put(await json(path));
      notice = word("label_others");
      announce(notice);
    }
  });
}

function put(example) {
  examples = examples.map((each) => (each.id === example.id ? example : each));
}

function edit() {
  const card = byId("labels").querySelector(".label");
  const example = current();
  if (!card || card.querySelector("form")) return;
  const mine = unsaved?.id === example.id ? unsaved.text : null;
  const { form, area } = editor(mine ?? (example.answer || example.rejected || ""), {
    label: "label_right",
    accept: "label_save",
    onaccept: (text) => change({ answer: text }, () => announce(word("label_saved"))),
    oncancel() {
      render();
      byId("labels").querySelector(".label")?.focus();
    },
  });
  card.querySelector("footer").replaceWith(form);
  area.focus();
}

function render() {
  if (!isShown()) return;
  const hadFocus = byId("labels").contains(document.activeElement);
  byId("labels").replaceChildren(
    element("h1", {}, word("labels")),
    element("p", { class: "hint" }, word("labels_about")),
    element("div", { class: "row", role: "group", "aria-label": word("labels") }, STATES.map(stateButton)),
    ...(problem ? [element("p", { class: "notice trouble" }, explain(problem))] : []),
    ...(current() ? [card(current()), foot()] : [element("p", { class: "notice" }, word("labels_none"))]),
  );
  if (hadFocus) byId("labels").querySelector(".label")?.focus();
}

function stateButton(name) {
  const properties = { type: "button", class: "quiet small", "aria-pressed": String(name === state), onclick: () => choose(name) };
  return element("button", properties, word("labels_state", { state: word(`label_${name}`), n: number(counts[name] ?? 0) }));
}

function card(example) {
  const about = { kind: wordOr(`kind_${example.kind}`, example.kind), voter: example.voter, time: time(example.created_at) };
  return element(
    "article",
    { class: "label", tabindex: -1, "aria-label": word("labels_place", { n: number(at + 1), of: number(examples.length) }) },
    element("p", { class: "hint" }, word("label_from", about)),
    notice ? element("p", { class: "notice trouble" }, notice) : null,
    unsaved?.id === example.id ? part("label_yours", plain(unsaved.text)) : null,
    part("label_question", example.messages.map(({ role, content }) => element("p", { class: "said-by" }, element("span", { class: "hint" }, wordOr(role, role)), plain(content)))),
    example.reason ? part("label_reason", plain(example.reason)) : null,
    ...answers(example),
    element("footer", { class: "row" }, decisions(example)),
  );
}

/** The wrong and the right answer; where there are both, with what differs marked. */
function answers({ answer, rejected }) {
  if (!answer) return [rejected ? part("label_wrong", plain(rejected)) : null, element("p", { class: "hint" }, word("label_no_right"))];
  if (!rejected || rejected === answer) return [part("label_right", plain(answer))];
  const parts = words(rejected, answer);
  const side = (without, tag) =>
    parts
      .filter(({ kind }) => kind !== without)
      .flatMap(({ kind, text }) => (kind === "same" ? text : [element(tag, {}, text.trimEnd()), text.slice(text.trimEnd().length)]));
  return [part("label_wrong", element("span", {}, side("more", "del"))), part("label_right", element("span", {}, side("less", "ins")))];
}

const plain = (text) => element("span", {}, text);
const part = (name, ...body) => element("div", { class: "part" }, element("h2", {}, word(name)), element("div", { class: "words" }, body));

function decisions(example) {
  const button = (name, onclick, properties = {}) => element("button", { type: "button", onclick, ...properties }, word(name));
  const to = (name, next) => button(name, () => decide(next), { disabled: example.state === next });
  return [
    button("approve", () => decide("approved"), { class: "first", disabled: example.state === "approved" }),
    to("reject", "rejected"),
    to("hold_out", "held_out"),
    button("edit", edit),
  ];
}

function foot() {
  const step = (by, name, sign) =>
    element("button", { type: "button", class: "quiet small", "aria-label": word(name), disabled: !examples[at + by], onclick: () => move(by) }, sign);
  return element(
    "div",
    { class: "row" },
    step(-1, "branch_before", "‹"),
    element("span", { class: "hint" }, word("labels_place", { n: number(at + 1), of: number(examples.length) })),
    step(1, "branch_after", "›"),
    hasMore ? element("button", { type: "button", class: "small", onclick: () => load(examples.at(-1).id) }, word("labels_more")) : null,
    element("p", { class: "hint keys" }, word("labels_keys")),
  );
}
