/**
 * Conversations as trees: editing a question or asking again adds a branch beside the old one, so nothing is lost.
 * Each is kept under its own name (two tabs do not overwrite each other), the oldest go when there are too many.
 */

import * as kept from "./kept.js";

const MOST = 50;
const MOST_CHARACTERS = 3_000_000; // browsers keep about 5 million for a site
const beginning = () => kept.beginning("conversation");

const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");

export function create() {
  return { id: newId(), created: Date.now(), changed: Date.now(), nodes: [], leaf: null };
}

/** Adds a message after `parent` (null: the first) and makes it the branch that is shown. */
export function add(conversation, message) {
  const node = { id: newId(), parent: null, text: "", ...message };
  conversation.nodes.push(node);
  conversation.leaf = node.id;
  return node;
}

const find = (conversation, id) => conversation.nodes.find((node) => node.id === id);

/** The messages from the first to `id`. */
export function path(conversation, id = conversation.leaf) {
  const messages = [];
  for (let node = find(conversation, id); node; node = find(conversation, node.parent)) messages.unshift(node);
  return messages;
}

/** The alternatives to a message, itself among them, oldest first. */
export function siblings(conversation, node) {
  return conversation.nodes.filter((other) => other.parent === node.parent);
}

/** Shows the branch through `node`, to its latest message. */
export function choose(conversation, node) {
  let leaf = node;
  for (let next = node; next; next = conversation.nodes.findLast((other) => other.parent === leaf.id)) leaf = next;
  conversation.leaf = leaf.id;
}

export function title(conversation) {
  const first = conversation.nodes.find((node) => node.role === "user");
  return first ? first.text.trim().replace(/\s+/g, " ").slice(0, 60) : "";
}

/** The kept conversations, latest first; what is not one is ignored. */
export function all() {
  return [...kept.sizes(beginning()).keys()]
    .map((name) => kept.read(name))
    .filter((each) => typeof each?.id === "string" && Array.isArray(each.nodes))
    .sort((a, b) => b.changed - a.changed);
}

/** True if it is kept. The oldest others make room. */
export function save(conversation) {
  if (!conversation.nodes.length) return true;
  conversation.changed = Date.now();
  const others = all().filter((other) => other.id !== conversation.id);
  const sizes = kept.sizes(beginning());
  let characters = JSON.stringify(conversation).length;
  for (const [name, size] of sizes) if (name !== beginning() + conversation.id) characters += size;
  while (others.length && (others.length >= MOST || characters > MOST_CHARACTERS)) {
    characters -= forget(others.pop(), sizes);
  }
  while (!kept.write(beginning() + conversation.id, conversation)) {
    if (!others.length) return false;
    forget(others.pop(), sizes);
  }
  return true;
}

export function forget(conversation, sizes = new Map()) {
  kept.remove(beginning() + conversation.id);
  return sizes.get(beginning() + conversation.id) ?? 0;
}

export function forgetAll() {
  for (const name of kept.sizes(beginning()).keys()) kept.remove(name);
}
