/** One message as elements. The chat gives the actions; a running answer is updated in place. */

import { element } from "./dom.js";
import { duration, number, word } from "./language.js";
import { codeBlock, show } from "./markdown.js";
import { proof, receiptId } from "./proof.js";
import { explain } from "./server.js";

const button = (name, onclick, properties = {}) =>
  element("button", { type: "button", class: "quiet small", onclick, ...properties }, word(name));

/** {root, foot, update(), refoot()}. branches: {index, count, go(step)}; actions: edit, retry, rate, correct. */
export function messageView(node, branches, actions) {
  const root = element("article", { class: `message ${node.role}`, "aria-label": word(node.role), "data-id": node.id });
  const view = node.role === "user" ? question(node) : answer(node);
  const foot = element("footer", { class: "row" });
  root.append(element("h2", { class: "who" }, word(node.role)), view.body, foot);
  let finished = null;
  const refoot = () => foot.replaceChildren(...footer(node, branches, actions));
  const update = () => {
    view.update?.();
    const running = node.state === "running";
    root.setAttribute("aria-busy", String(running));
    if (finished === !running) return;
    finished = !running;
    if (!running) refoot();
    if (!running && node.role === "assistant" && receiptId(node) && node.state === "done") root.append(proof(node));
  };
  update();
  return { root, update, refoot, foot };
}

function question(node) {
  return { body: element("div", { class: "text" }, node.text) };
}

function answer(node) {
  const thinking = element("div", { class: "thoughts" });
  const title = element("summary");
  const thoughts = element("details", { class: "thinking", hidden: true }, title, thinking);
  const text = element("div", { class: "text" });
  const calls = element("div");
  const waiting = element("p", { class: "waiting" }, word("waiting"));
  const trouble = element("div", { class: "notice trouble", hidden: true });
  const update = () => {
    const running = node.state === "running";
    waiting.hidden = !running || Boolean(node.text || node.thinking);
    thoughts.hidden = !node.thinking;
    if (node.thinking) {
      const still = running && !node.text;
      title.textContent = still
        ? word("thinking")
        : node.thinking_seconds
          ? word("thought_for", { time: duration(node.thinking_seconds) })
          : word("thought");
      thoughts.classList.toggle("live", still);
      show(thinking, node.thinking);
    }
    show(text, node.text);
    text.classList.toggle("live", running && Boolean(node.text));
    calls.replaceChildren(...(node.calls ?? []).filter(Boolean).map((call) => codeBlock(call.arguments, call.name)));
    trouble.hidden = running || node.state === "done";
    if (!trouble.hidden) trouble.replaceChildren(...troubles(node));
  };
  return { body: element("div", { class: "body" }, thoughts, waiting, text, calls, trouble), update };
}

function troubles(node) {
  if (node.state === "stopped") return [element("p", {}, word("stopped"))];
  const failure = node.failure ?? { kind: "broken" };
  return [
    element("p", {}, explain(failure)),
    failure.said ? element("p", { class: "said" }, word("server_says", { said: failure.said })) : null,
  ].filter(Boolean);
}

function footer(node, branches, actions) {
  const parts = [];
  if (branches.count > 1) {
    const step = (by, name, sign) =>
      element("button", {
        type: "button", class: "quiet small", "aria-label": word(name), title: word(name),
        disabled: branches.index + by < 0 || branches.index + by >= branches.count, onclick: () => branches.go(by),
      }, sign);
    const place = word("branch", { n: number(branches.index + 1), of: number(branches.count) });
    parts.push(step(-1, "branch_before", "‹"), element("span", { class: "hint" }, place), step(1, "branch_after", "›"));
  }
  if (node.role === "user") return [...parts, button("edit", actions.edit), button("retry", actions.retry)];
  parts.push(button("retry", actions.retry, { class: node.state === "done" ? "quiet small" : "small" }));
  if (node.corrected) parts.push(element("span", { class: "hint" }, word("corrected")));
  if (node.state === "done" && receiptId(node)) parts.push(...ratings(node, actions));
  if (node.text) parts.push(button("correct", actions.correct));
  return parts;
}

function ratings(node, actions) {
  const rate = (rating) =>
    button(rating, () => actions.rate(node.rating === rating ? null : rating), {
      "aria-pressed": String(node.rating === rating), "data-rating": rating,
    });
  return [rate("good"), rate("bad")];
}

/** A text field in the place of a message. */
export function editor(text, { label, accept, onaccept, oncancel }) {
  const area = element("textarea", { "aria-label": word(label), rows: Math.min(14, text.split("\n").length + 1), value: text });
  const form = element(
    "form",
    { class: "editor" },
    area,
    element(
      "div",
      { class: "row" },
      element("button", { type: "submit", class: "first" }, word(accept)),
      element("button", { type: "button", onclick: oncancel }, word("cancel")),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (area.value.trim()) onaccept(area.value);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      oncancel();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  return { form, area };
}
