/** The evidence of an answer: its receipt, and verifying it. */

import { announce, download, element } from "./dom.js";
import { brief, duration, number, word, wordOr } from "./language.js";
import { explain, Failure, json, request } from "./server.js";

/** The id of an answer's receipt: told by the last chunk, else the answer's id without its prefix. */
export function receiptId(node) {
  return node.receipt ?? node.answer_id?.replace(/^[a-z]+[-_]/, "") ?? null;
}

function facts(node) {
  const usage = node.usage ?? {};
  const cached = usage.prompt_tokens_details?.cached_tokens;
  const sent = Object.entries(node.settings ?? {}).filter(([name]) => name !== "model" && name !== "response_format");
  const { predicted_per_second: rate, predicted_cycles_per_token: cycles } = node.timings ?? {};
  const cost = [node.seconds && duration(node.seconds), rate && word("per_second", { n: brief(rate) }), cycles && word("per_token", { n: brief(cycles) })];
  return [
    ["digest", node.digest],
    ["receipt", receiptId(node)],
    ["seed", node.seed],
    ["model", node.model],
    ["sampling", sent.map(([name, value]) => `${name} = ${value}`).join(", ") || word("by_server")],
    ["format", node.settings?.response_format ? "JSON Schema" : null],
    ["prompt_tokens", usage.prompt_tokens && number(usage.prompt_tokens) + (cached ? ` (${word("cached", { n: number(cached) })})` : "")],
    ["answer_tokens", usage.completion_tokens && number(usage.completion_tokens)],
    ["cost", cost.filter(Boolean).join(" · ")],
    ["ended", node.stop_reason && wordOr(`end_${node.stop_reason}`, node.stop_reason)],
  ].filter(([, value]) => value !== null && value !== undefined && value !== 0 && value !== "");
}

/** The verdict of /v1/verify as {state, sentence}. */
async function verify(node) {
  try {
    const report = await json("v1/verify", { body: { id: receiptId(node) } });
    if (report.verified === true) {
      return { state: "good", sentence: word("verified", { n: number(report.positions) }) };
    }
    const located = ["logits", "tokens", "stop"].includes(report.difference); // other differences have no position
    const at = located ? word("mismatch_at", { position: number(report.position) }) : null;
    return { state: "bad", sentence: [word("mismatch"), at, report.message].filter(Boolean).join(" ") };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { state: "unsure", sentence: `${word("not_verified")} ${sentences(error)}` };
  }
}

export function sentences(error) {
  const { said } = error.details;
  return explain(error.details) + (said ? ` ${word("server_says", { said })}` : "");
}

const MARKS = { good: "✓", bad: "✕", unsure: "?", busy: "…" };

function verdictLine() {
  const mark = element("span", { class: "mark", "aria-hidden": "true" });
  const text = element("span");
  const line = element("p", { class: "verdict", hidden: true }, mark, text);
  const say = (state, sentence) => {
    line.hidden = false;
    line.dataset.state = state;
    mark.textContent = MARKS[state];
    text.textContent = sentence;
    if (state !== "busy") announce(sentence);
  };
  return { line, say };
}

async function save(node, say) {
  try {
    const text = await (await request(`v1/receipts/${encodeURIComponent(receiptId(node))}`)).text();
    download(`receipt-${receiptId(node)}.json`, text); // the server's bytes: a signature covers numbers as they are written
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say("unsure", sentences(error));
  }
}

/** The folded part below an answer. */
export function proof(node) {
  const { line, say } = verdictLine();
  const check = element("button", { type: "button", class: "first", onclick: run }, word("verify"));
  async function run() {
    check.disabled = true;
    say("busy", word("verifying"));
    const { state, sentence } = await verify(node);
    say(state, sentence);
    check.disabled = false;
  }
  const rows = facts(node).map(([name, value]) => [
    element("dt", {}, word(`fact_${name}`)),
    element("dd", { class: ["digest", "receipt", "seed", "sampling"].includes(name) && "mono" }, String(value)),
  ]);
  return element(
    "details",
    { class: "proof" },
    element("summary", {}, word("evidence")),
    element("dl", {}, rows),
    element(
      "div",
      { class: "row" },
      check,
      element("button", { type: "button", onclick: () => save(node, say) }, word("download_receipt")),
    ),
    line,
  );
}
