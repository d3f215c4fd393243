/** Live figures of the server: /v1/status every two seconds while the view is open and visible. */

import { announce, byId, drawing, element } from "./dom.js";
import { brief, bytes, duration, language, number, onLanguage, time, word, wordOr } from "./language.js";
import { explain, Failure, json } from "./server.js";

const EVERY = 2000;
const KEPT = 60; // readings of a sparkline: two minutes

const readings = []; // latest last
let latest = null; // the status, and when it was read
let failure = null;
let timer = null;
let needKey = () => {};

const FIGURES = [
  {
    name: "first_token", unit: "ms", value: (s) => s.first_token_ms?.p50, show: brief,
    more: (s) => word("p95", { value: `${brief(s.first_token_ms?.p95)} ms` }),
  },
  {
    name: "speed", value: (s) => s.tokens_per_second?.decode, show: brief,
    more: (s) => word("prefill", { value: brief(s.tokens_per_second?.prefill) }),
  },
  {
    name: "requests", value: (s) => s.requests?.running, show: number,
    more: (s) => word("waiting_finished", { waiting: number(s.requests?.waiting), finished: number(s.requests?.finished) }),
  },
  {
    name: "cache", value: (s) => s.cache?.used_bytes, show: bytes, meter: (s) => [s.cache?.used_bytes, s.cache?.limit_bytes],
    more: (s) => (s.cache?.limit_bytes ? word("of_limit", { limit: bytes(s.cache.limit_bytes) }) : word("no_limit")),
  },
  {
    name: "tokens", value: (s) => s.tokens?.generated, show: brief, change: true,
    more: (s) => word("prompt_read", { n: brief(s.tokens?.prompt) }),
  },
  {
    name: "cycles", value: (s) => s.cycles_per_token?.decode, show: brief,
    more: (s) => word("prefill", { value: brief(s.cycles_per_token?.prefill) }),
  },
];

export function start(hooks) {
  needKey = hooks.needKey;
  document.addEventListener("visibilitychange", wake);
  addEventListener("hashchange", wake);
  onLanguage(draw);
  draw();
  wake();
}

const visible = () => !document.hidden && !byId("monitor").hidden;

/** Reads at once, and then every two seconds as long as somebody looks. */
export function wake() {
  clearTimeout(timer);
  timer = null;
  if (visible()) tick();
}

async function tick() {
  const before = failure?.kind;
  try {
    const status = await json("v1/status", { signal: AbortSignal.timeout(5 * EVERY) });
    latest = { status, at: Date.now() };
    readings.push(status);
    if (readings.length > KEPT) readings.shift();
    failure = null;
  } catch (error) {
    failure = error instanceof Failure ? error.details : { kind: "network" };
    if (failure.kind !== before) announce(explain(failure));
    if (failure.kind === "key" && before !== "key") needKey();
  }
  draw();
  clearTimeout(timer);
  if (visible()) timer = setTimeout(tick, EVERY);
}

function draw() {
  const root = byId("monitor");
  const focused = root.contains(document.activeElement) ? document.activeElement.id : null;
  const parts = latest ? page(latest.status) : [heading(null), failure ? trouble() : element("p", {}, word("reading"))];
  parts.forEach((part, index) => {
    const old = root.children[index];
    if (!old) root.append(part);
    else if (!old.isEqualNode(part)) old.replaceWith(part); // what is the same keeps its selection and its place
  });
  while (root.children.length > parts.length) root.lastChild.remove();
  if (focused) byId(focused)?.focus();
}

function page(status) {
  return [
    heading(status),
    failure ? trouble() : null,
    verdict(status.limits ?? []),
    element("div", { class: failure ? "figures old" : "figures" }, FIGURES.map((figure) => card(figure, status))),
    limits(status.limits ?? []),
    decisions(status.decisions ?? []),
    models(status),
  ].filter(Boolean);
}

function heading(status) {
  const known = ["ready", "loading", "draining"].includes(status?.state);
  const state = failure ? "silent" : known ? status.state : "unknown";
  const parts = status && [
    `Flyball ${status.version ?? ""}`,
    status.isa,
    typeof status.threads === "number" ? word("threads", { n: number(status.threads) }) : null,
    word("up", { time: duration(status.uptime_seconds) }),
  ];
  return element(
    "header",
    { class: "monitor-head" },
    element("h1", {}, word("monitor")),
    element("span", { class: "state", "data-state": state }, word(`state_${state}`)),
    element("p", { class: "hint" }, parts ? parts.filter(Boolean).join(" · ") : ""),
    ["loading", "draining"].includes(state) ? element("p", { class: "hint full" }, word(`state_${state}_more`)) : null,
  );
}

function trouble() {
  const since = latest ? ` ${word("last_read", { time: time(latest.at) })}` : "";
  return element("div", { class: "notice trouble" }, element("p", {}, explain(failure) + since));
}

const STATES = ["GO", "WATCH", "NO-GO"];
const stateOf = (limit) => (STATES.includes(limit.state) ? limit.state : "WATCH"); // what is not known is not fine

/** The worst state of all limits, as a sentence. */
function verdict(list) {
  if (!list.length) return null;
  const worst = STATES.findLast((state) => list.some((limit) => stateOf(limit) === state));
  const names = list.filter((limit) => stateOf(limit) === worst).map((limit) => limitName(limit.name));
  const said = { GO: "all_go", WATCH: "some_watch", "NO-GO": "some_no_go" }[worst];
  return element("p", { class: "overall", "data-state": worst }, badge(worst), element("span", {}, word(said, { names: names.join(", ") })));
}

/** A state as a shape and a word; the color only repeats it. */
function badge(state) {
  const shapes = {
    GO: drawing("circle", { cx: 8, cy: 8, r: 6 }),
    WATCH: drawing("path", { d: "M8 1.5 15 14H1Z" }),
    "NO-GO": drawing("path", { d: "M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5Z" }),
  };
  const shape = drawing("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, shapes[state]);
  return element("span", { class: "badge", "data-state": state }, shape, state);
}

function card({ name, unit, value, show, more, meter, change }, status) {
  const [used, limit] = meter?.(status) ?? [];
  const series = readings.map(value);
  return element(
    "article",
    { class: "card" },
    element("h2", {}, word(`figure_${name}`)),
    element("p", { class: "figure" }, show(value(status)), unit ? element("small", {}, ` ${unit}`) : null),
    element("p", { class: "hint" }, more(status)),
    sparkline(change ? series.slice(1).map((n, index) => n - series[index]) : series, show),
    limit > 0
      ? element("meter", { min: 0, max: limit, value: used, high: limit * 0.9, "aria-label": word("figure_cache") })
      : null,
  );
}

function sparkline(series, show) {
  const values = series.filter((value) => typeof value === "number" && Number.isFinite(value));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const label = values.length ? word("spark", { least: show(least), most: show(most) }) : word("spark_none");
  const picture = drawing("svg", { class: "spark", viewBox: "0 0 120 28", preserveAspectRatio: "none", role: "img", "aria-label": label });
  if (values.length < 2) return picture;
  const points = values.map((value, index) => [
    120 - (values.length - 1 - index) * (120 / (KEPT - 1)),
    most > least ? 26 - ((value - least) / (most - least)) * 24 : 14,
  ]);
  const line = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
  picture.append(
    drawing("path", { class: "area", d: `M${points[0][0].toFixed(1)} 28L${line}L120 28Z` }),
    drawing("path", { class: "line", d: `M${line}` }),
  );
  return picture;
}

const limitName = (name) => wordOr(`limit_${name}`, name);

/** A value in the unit that its name ends with. */
function limitValue(name, value) {
  if (typeof value !== "number") return "–";
  if (/_share$/.test(name)) return new Intl.NumberFormat(language(), { style: "percent", maximumFractionDigits: 1 }).format(value);
  if (/_ms$/.test(name)) return `${brief(value)} ms`;
  if (/_seconds$/.test(name)) return word("seconds", { seconds: brief(value) });
  return brief(value);
}

function scrolling(label, ...children) {
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": word(label), id: `scroll-${label}` }, element("table", {}, children));
}

const headRow = (...names) => element("thead", {}, element("tr", {}, names.map((name) => element("th", { scope: "col" }, word(name)))));

function limits(list) {
  const rows = list.map((limit) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, limitName(limit.name), element("p", { class: "hint" }, wordOr(`limit_of_${limit.of}`, ""))),
      element("td", {}, limitValue(limit.name, limit.value)),
      element("td", {}, limitValue(limit.name, limit.limit)),
      element("td", {}, badge(stateOf(limit))),
    ),
  );
  return element(
    "section",
    {},
    element("h2", {}, word("limits")),
    rows.length
      ? scrolling("limits", headRow("limit", "now", "allowed", "state"), element("tbody", {}, rows))
      : element("p", { class: "hint" }, word("limits_none")),
  );
}

function decisions(list) {
  const items = list.slice(0, 20).map((each) =>
    element(
      "li",
      {},
      element("span", { class: "when" }, time(each.time)),
      element("span", {}, String(each.sentence ?? ""), " ", element("code", {}, String(each.reason_id ?? ""))),
    ),
  );
  return element(
    "section",
    {},
    element("h2", {}, word("decisions")),
    items.length ? element("ol", { class: "decisions" }, items) : element("p", { class: "hint" }, word("decisions_none")),
  );
}

function models({ models: list = [] }) {
  const rows = list.map((model) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(model.name)),
      element("td", {}, word(model.loaded ? "loaded" : "not_loaded")),
      element("td", {}, number(model.context)),
      element("td", {}, String(model.cache_type ?? "–")),
      element("td", { class: "mono", title: model.fingerprint ?? null }, model.fingerprint ? model.fingerprint.slice(0, 12) : "–"),
    ),
  );
  if (!rows.length) return null;
  const head = headRow("model", "state", "context", "cache_type", "fingerprint");
  return element("section", {}, element("h2", {}, word("models")), scrolling("models", head, element("tbody", {}, rows)));
}
