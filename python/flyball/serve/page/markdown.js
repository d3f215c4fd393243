/**
 * A little Markdown as elements: headings, paragraphs, lists, quotes, tables, code, bold, emphasis, links.
 * The text is a model's, hence hostile: it becomes text nodes only, links are http or https, and the work is linear in
 * its length (each search for a closing mark is remembered, nesting is bounded).
 */

import { element } from "./dom.js";
import { word } from "./language.js";

const MOST = 200_000; // characters that are formatted; a longer text is shown as it is
const MOST_BLOCKS = 3000; // the same
const MOST_LINE = 2000; // of a heading or a table's row
const MOST_INLINE = 20_000; // of one paragraph
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]{0,30})/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^(\s{0,12})([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ROW = /^\s*\|.*\|\s*$/;
const DIVIDER = /^\s*\|(?:\s*:?-+:?\s*\|)+\s*$/;

/** Shows the text in the element, and keeps the elements of blocks that have not changed (an answer grows at its end). */
export function show(target, text) {
  const found = text.length > MOST ? [] : split(text);
  const plain = text.length > MOST || found.length > MOST_BLOCKS;
  const blocks = plain ? [{ kind: "plain", source: text, lines: [text] }] : found;
  const shown = (target.shownBlocks ??= []);
  blocks.forEach((block, index) => {
    const identity = block.kind + "\n" + block.source;
    if (shown[index] === identity) return;
    const node = BUILDERS[block.kind](block);
    if (target.children[index]) target.children[index].replaceWith(node);
    else target.append(node);
    shown[index] = identity;
  });
  while (target.children.length > blocks.length) target.lastChild.remove();
  shown.length = blocks.length;
}

function kindOf(line) {
  if (line.trim() === "") return "blank";
  if (FENCE.test(line)) return "code";
  if (line.length > MOST_LINE) return ITEM.test(line) ? "list" : "paragraph";
  if (RULE.test(line)) return "rule";
  if (ITEM.test(line)) return "list";
  if (HEADING.test(line)) return "heading";
  if (/^ {0,3}>/.test(line)) return "quote";
  if (ROW.test(line)) return "table";
  return "paragraph";
}

/** Blocks: {kind, source, lines}. */
function split(text) {
  const lines = text.split("\n");
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    const kind = kindOf(lines[at]);
    if (kind === "blank") {
      at += 1;
      continue;
    }
    const begin = at;
    at = endOf(kind, lines, at);
    const part = lines.slice(begin, at);
    blocks.push({ kind, lines: part, source: part.join("\n") });
  }
  return blocks;
}

function endOf(kind, lines, at) {
  if (kind === "heading" || kind === "rule") return at + 1;
  if (kind === "code") {
    const mark = FENCE.exec(lines[at])[1];
    for (at += 1; at < lines.length; at += 1) {
      const line = lines[at].trim();
      if (line.startsWith(mark) && line.replaceAll(mark[0], "") === "") return at + 1;
    }
    return at;
  }
  const first = at;
  for (at += 1; at < lines.length; at += 1) {
    const continues = kind === "list" ? continuesList(lines, first, at) : kindOf(lines[at]) === kind;
    if (!continues) return at;
  }
  return at;
}

function continuesList(lines, first, at) {
  const kind = kindOf(lines[at]);
  if (kind === "blank") return at + 1 < lines.length && kindOf(lines[at + 1]) === "list" && continuesList(lines, first, at + 1);
  if (kind !== "list") return kind === "paragraph" && /^\s/.test(lines[at]);
  const [, space, mark] = ITEM.exec(lines[at]);
  const [, firstSpace, firstMark] = ITEM.exec(lines[first]);
  return space.length > firstSpace.length || /\d/.test(mark) === /\d/.test(firstMark);
}

const BUILDERS = {
  plain: (block) => element("pre", { class: "plain" }, block.source),
  rule: () => element("hr"),
  paragraph: (block) => element("p", {}, inline(block.source)),
  quote: (block) =>
    element("blockquote", {}, element("p", {}, inline(block.lines.map((line) => line.replace(/^\s*>\s?/, "")).join("\n")))),
  heading(block) {
    const [, marks, text] = HEADING.exec(block.source);
    return element(`h${Math.min(6, marks.length + 2)}`, {}, inline(text)); // the page has levels 1 and 2
  },
  code(block) {
    const [, mark, name] = FENCE.exec(block.lines[0]);
    const last = block.lines.at(-1).trim();
    const closed = block.lines.length > 1 && last.startsWith(mark) && last.replaceAll(mark[0], "") === "";
    return codeBlock(block.lines.slice(1, closed ? -1 : undefined).join("\n"), name);
  },
  list,
  table,
};

/** Code with its language and a button that copies it. */
export function codeBlock(text, name = "") {
  const copy = element("button", { type: "button", class: "quiet small", onclick: () => copyText(copy, text) }, word("copy"));
  return element(
    "figure",
    { class: "code" },
    element("figcaption", {}, element("span", {}, name || word("code")), navigator.clipboard ? copy : null),
    element("pre", { tabindex: "0", role: "group", "aria-label": name || word("code") }, element("code", {}, text)),
  );
}

async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = word("copied");
  } catch {
    button.textContent = word("not_copied");
  }
}

function list(block) {
  const levels = []; // {indent, node}
  for (const line of block.lines) {
    const match = ITEM.exec(line);
    if (!match) {
      if (line.trim()) levels.at(-1).node.lastChild.append(element("br"), ...inline(line.trim()));
      continue;
    }
    const [, space, mark, text] = match;
    while (levels.length > 1 && space.length < levels.at(-1).indent) levels.pop();
    if (!levels.length || (space.length > levels.at(-1).indent + 1 && levels.length < 6)) {
      const ordered = /\d/.test(mark);
      const node = element(ordered ? "ol" : "ul", { start: ordered && parseInt(mark) !== 1 ? parseInt(mark) : null });
      levels.at(-1)?.node.lastChild.append(node);
      levels.push({ indent: space.length, node });
    }
    levels.at(-1).node.append(element("li", {}, inline(text)));
  }
  return levels[0].node;
}

function table(block) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  if (!DIVIDER.test(block.lines[1] ?? "")) return element("p", {}, inline(block.source));
  const row = (line, name) => element("tr", {}, cells(line).map((cell) => element(name, {}, inline(cell))));
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": word("table") },
    element(
      "table",
      {},
      element("thead", {}, row(block.lines[0], "th")),
      element("tbody", {}, block.lines.slice(2).map((line) => row(line, "td"))),
    ),
  );
}

/** indexOf that remembers what it found, so that many openings without a closing cost one search. */
class Finder {
  constructor(text) {
    this.text = text;
    this.found = new Map();
  }
  next(mark, from) {
    const known = this.found.get(mark);
    if (known !== undefined && (known === -1 || known >= from)) return known;
    const index = this.text.indexOf(mark, from);
    this.found.set(mark, index);
    return index;
  }
}

const SPECIAL = /\*\*|[`*[\n\\]|https?:\/\//g;

/** The nodes of one paragraph. */
export function inline(text, depth = 0) {
  if (text.length > MOST_INLINE || depth > 3) return [text];
  const finder = new Finder(text);
  const nodes = [];
  let shown = 0;
  SPECIAL.lastIndex = 0;
  for (const match of text.matchAll(SPECIAL)) {
    if (match.index < shown) continue;
    const piece = PIECES[match[0][0]](text, match.index, finder, depth);
    if (!piece) continue;
    nodes.push(text.slice(shown, match.index), ...piece.nodes);
    shown = piece.end;
  }
  nodes.push(text.slice(shown));
  return nodes.filter((node) => node !== "");
}

const PIECES = {
  "\n": (text, at) => ({ nodes: [element("br")], end: at + 1 }),
  "\\": (text, at) => (/[\\`*_[\]()#+.!|>~-]/.test(text[at + 1] ?? "") ? { nodes: [text[at + 1]], end: at + 2 } : null),
  "`"(text, at, finder) {
    const mark = /`+/y;
    mark.lastIndex = at;
    const marks = mark.exec(text)[0];
    const close = marks.length > 3 ? -1 : finder.next(marks, at + marks.length);
    if (close === -1) return { nodes: [marks], end: at + marks.length };
    return { nodes: [element("code", {}, text.slice(at + marks.length, close))], end: close + marks.length };
  },
  "*"(text, at, finder, depth) {
    const mark = text[at + 1] === "*" ? "**" : "*";
    const begin = at + mark.length;
    const close = finder.next(mark, begin + 1);
    if (close === -1 || /\s/.test(text[begin] ?? " ") || /\s/.test(text[close - 1])) return { nodes: [mark], end: begin };
    const node = element(mark === "**" ? "strong" : "em", {}, inline(text.slice(begin, close), depth + 1));
    return { nodes: [node], end: close + mark.length };
  },
  "["(text, at, finder) {
    const middle = finder.next("](", at);
    const close = middle === -1 ? -1 : finder.next(")", middle);
    if (close === -1 || middle - at > 500 || close - middle > 2000) return null;
    return { nodes: link(text.slice(at + 1, middle), text.slice(middle + 2, close).trim().split(/\s/)[0]), end: close + 1 };
  },
  h(text, at) {
    const address = /[^\s<>"'`)\]*]{1,2000}/y;
    address.lastIndex = at;
    const found = address.exec(text)[0].replace(/[.,;:!?]+$/, "");
    return { nodes: link(found, found), end: at + found.length };
  },
};

/** A link to http or https with its host in sight; the text alone for any other address. */
function link(text, address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return [text];
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return [text];
  const node = element("a", { href: url.href, rel: "noreferrer noopener", target: "_blank" }, text || url.href);
  return text === address ? [node] : [node, element("span", { class: "host" }, ` (${url.host})`)];
}
