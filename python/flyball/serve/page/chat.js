/** The conversation that is shown, and the one answer that may be running. */

import * as conversations from "./conversations.js";
import { announce, byId, element } from "./dom.js";
import { number, onLanguage, word } from "./language.js";
import { editor, messageView } from "./message.js";
import * as options from "./options.js";
import { receiptId, sentences } from "./proof.js";
import { answer, explain, Failure, json } from "./server.js";

const PAUSE = 50; // ms between updates of a running answer

let conversation = conversations.create();
let running = null; // {controller, conversation, node}
let views = new Map();
let hooks = { needKey() {}, openOptions() {} };

/** hooks: needKey() asks for the server's key, openOptions(field) shows the settings. */
export function start(given) {
  hooks = given;
  const composer = byId("composer");
  const area = byId("question");
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  area.addEventListener("input", () => grow(area));
  byId("stop").addEventListener("click", stop);
  byId("new-conversation").addEventListener("click", () => open(conversations.create()));
  byId("forget-all").addEventListener("click", forgetAll);
  addEventListener("storage", list);
  addEventListener("pagehide", () => running && save(running.conversation));
  const latest = conversations.all()[0];
  open(latest ?? conversation, false);
  onLanguage(() => {
    render();
    list();
  });
}

const grow = (area) => area.setAttribute("rows", Math.min(8, area.value.split("\n").length));

/** The latest conversation of the project that is shown now. */
export function anew() {
  stop();
  open(conversations.all()[0] ?? conversations.create(), false);
}

export function stop() {
  running?.controller.abort();
}

export const isRunning = () => running !== null;

/** After the key was given: what it was missing for is asked again. */
export function retryRefused() {
  const last = conversations.path(conversation).at(-1);
  if (last?.failure?.kind === "key") retry(last);
}

function open(next, focus = true) {
  conversation = running?.conversation.id === next.id ? running.conversation : next;
  for (const node of conversation.nodes) {
    if (node.state === "running" && node !== running?.node) Object.assign(node, { state: "failed", failure: { kind: "broken" } });
  }
  render();
  list();
  scrollTo(0, document.body.scrollHeight);
  if (!focus) return;
  location.hash = "#chat";
  byId("question").focus();
}

function list() {
  const items = conversations.all().map((each) => {
    const name = conversations.title(each);
    const here = each.id === conversation.id;
    const open_ = element("button", { type: "button", class: "quiet entry", "aria-current": here && "true", onclick: () => open(each) }, name);
    const drop = element(
      "button",
      { type: "button", class: "quiet icon", "aria-label": word("forget", { name }), title: word("forget", { name }), onclick: () => forget(each) },
      "×",
    );
    return element("li", {}, open_, drop);
  });
  byId("conversation-list").replaceChildren(...items);
  byId("forget-all").disabled = !items.length;
}

function forget(each) {
  if (!confirm(word("forget_really", { name: conversations.title(each) }))) return;
  if (running?.conversation.id === each.id) stop();
  conversations.forget(each);
  if (each.id === conversation.id) open(conversations.create());
  else list();
}

function forgetAll() {
  if (!confirm(word("forget_all_really"))) return;
  stop();
  conversations.forgetAll();
  open(conversations.create());
}

function save(each) {
  if (!conversations.save(each)) announce(word("not_kept"));
}

function render() {
  const messages = conversations.path(conversation);
  views = new Map();
  byId("messages").replaceChildren(...(messages.length ? messages.map(view) : [welcome()]));
  showRunning();
}

function welcome() {
  return element(
    "div",
    { class: "welcome" },
    element("img", { src: "page/logo.svg", alt: "", width: 72, height: 72 }),
    element("p", { class: "large" }, word("welcome")),
    element("p", { class: "hint" }, word("welcome_more")),
  );
}

function view(node) {
  const all = conversations.siblings(conversation, node);
  const index = all.indexOf(node);
  const go = (by) => {
    conversations.choose(conversation, all[index + by]);
    save(conversation);
    render();
    byId("messages").querySelector(`[data-id="${all[index + by].id}"] footer button`)?.focus();
  };
  const actions = {
    edit: () => edit(node),
    retry: () => retry(node),
    rate: (rating) => rate(node, rating),
    correct: () => correct(node),
  };
  const made = messageView(node, { index, count: all.length, go }, actions);
  views.set(node.id, made);
  return made.root;
}

function showRunning() {
  byId("send").hidden = isRunning();
  byId("stop").hidden = !isRunning();
  document.body.classList.toggle("running", isRunning());
}

function send() {
  const area = byId("question");
  const text = area.value;
  if (!text.trim() || isRunning() || !ready()) return;
  area.value = "";
  grow(area);
  conversations.add(conversation, { role: "user", parent: conversation.leaf, text });
  ask();
}

/** False, with the reason said and shown, if a setting is wrong. */
function ready() {
  const { wrong } = options.settings();
  if (!wrong) return true;
  hooks.openOptions(wrong);
  announce(word("option_wrong"));
  return false;
}

function edit(node) {
  replaceByEditor(node, "edit", "send", (text) => {
    if (isRunning() || !ready()) return;
    conversations.add(conversation, { role: "user", parent: node.parent, text });
    ask();
  });
}

function replaceByEditor(node, label, accept, onaccept) {
  const { root } = views.get(node.id);
  const { form, area } = editor(node.text, {
    label,
    accept,
    onaccept,
    oncancel() {
      const again = view(node);
      form.parentElement.replaceWith(again);
      again.querySelector("footer button")?.focus();
    },
  });
  root.replaceChildren(form);
  area.focus();
}

function retry(node) {
  if (isRunning() || !ready()) return;
  const parent = node.role === "user" ? node.id : node.parent;
  if (node.role === "assistant" && node.state !== "done" && !node.text && !node.thinking) {
    conversation.nodes.splice(conversation.nodes.indexOf(node), 1); // nothing was said there
  }
  conversation.leaf = parent;
  ask();
}

async function feedback(node, members) {
  const id = node.corrects ?? receiptId(node);
  if (!id) return true;
  try {
    const path = conversations.path(conversation, node.parent);
    const judged = node.corrects ? {} : { answer: node.text };
    const about = { ...judged, messages: said(options.settings().system, path), source: "page" };
    const now = { rating: node.rating ?? null, correction: node.correction ?? null, ...members };
    await json("v1/feedback", { body: { id, ...now, ...about } });
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.details.kind === "key") hooks.needKey();
    const place = views.get(node.id)?.foot;
    place?.querySelector(".problem")?.remove();
    place?.append(element("p", { class: "problem" }, `${word("feedback_not_kept")} ${sentences(error)}`));
    announce(word("feedback_not_kept"));
    return false;
  }
}

async function rate(node, rating) {
  if (!(await feedback(node, { rating }))) return;
  node.rating = rating;
  save(conversation);
  const shown = views.get(node.id);
  const focused = document.activeElement?.dataset.rating;
  shown?.refoot();
  if (focused) shown?.foot.querySelector(`[data-rating="${focused}"]`)?.focus();
  announce(word(rating ? "feedback_kept" : "feedback_taken_back"));
}

function correct(node) {
  replaceByEditor(node, "correct", "correct_save", async (text) => {
    if (!(await feedback(node, { correction: text }))) return;
    node.correction = text;
    conversations.add(conversation, {
      role: "assistant", parent: node.parent, text, state: "done", corrected: true, corrects: node.corrects ?? receiptId(node),
    });
    save(conversation);
    render();
    announce(word("feedback_kept"));
  });
}

/** The messages of the branch, as the server wants them. */
function said(system, messages) {
  const list = messages.filter(({ role, text }) => role === "user" || text).map(({ role, text }) => ({ role, content: text }));
  return system ? [{ role: "system", content: system }, ...list] : list;
}

/** Asks for an answer to the branch that is shown. */
async function ask() {
  const { body, system } = options.settings();
  const messages = said(system, conversations.path(conversation));
  const node = conversations.add(conversation, {
    role: "assistant", parent: conversation.leaf, state: "running", thinking: "", settings: body, model: body.model,
  });
  const here = { controller: new AbortController(), conversation, node, began: performance.now() };
  running = here;
  save(conversation);
  render();
  list();
  scrollTo(0, document.body.scrollHeight);
  try {
    await follow(here, { ...body, messages, stream: true, stream_options: { include_usage: true } });
    node.state = "done";
  } catch (error) {
    node.state = here.controller.signal.aborted ? "stopped" : "failed";
    if (node.state === "failed") node.failure = error instanceof Failure ? error.details : { kind: "page", said: String(error) };
  }
  running = null;
  end(here);
}

async function follow(here, body) {
  const { node } = here;
  let timer = null;
  const refresh = () => {
    timer = null;
    const low = innerHeight + scrollY >= document.body.scrollHeight - 120;
    views.get(node.id)?.update();
    if (low) scrollTo(0, document.body.scrollHeight);
  };
  try {
    for await (const chunk of answer(body, here.controller.signal)) {
      take(here, chunk);
      timer ??= setTimeout(refresh, PAUSE + node.text.length / 1000);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** What a chunk adds to the answer. */
function take({ node, began }, chunk) {
  const elapsed = (performance.now() - began) / 1000;
  node.answer_id ??= chunk.id;
  if (chunk.model) node.model = chunk.model;
  if (chunk.usage) node.usage = chunk.usage;
  if (chunk.timings) node.timings = chunk.timings;
  if (chunk.flyball) {
    const { receipt, digest, seed, stop_reason } = chunk.flyball;
    Object.assign(node, { receipt, digest, seed, stop_reason });
  }
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const delta = choice.delta ?? {};
  if (delta.reasoning_content) node.thinking_began ??= elapsed;
  node.thinking += delta.reasoning_content ?? "";
  if (delta.content && node.thinking && !node.text) node.thinking_seconds = elapsed - node.thinking_began;
  node.text += delta.content ?? "";
  node.seconds = elapsed;
  for (const part of delta.tool_calls ?? []) {
    const calls = (node.calls ??= []);
    const call = (calls[part.index ?? 0] ??= { name: "", arguments: "" });
    call.name += part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
}

function end({ conversation: of, node }) {
  if (of.nodes.length && conversations.all().some((each) => each.id === of.id)) save(of);
  views.get(node.id)?.update();
  showRunning();
  list();
  if (node.failure?.kind === "key") hooks.needKey();
  if (node.state === "failed") announce(explain(node.failure));
  else if (node.state === "stopped") announce(word("stopped"));
  else announce(node.usage?.completion_tokens ? word("answered_tokens", { n: number(node.usage.completion_tokens) }) : word("answered"));
}
