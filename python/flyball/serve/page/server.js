/** Requests to the server that gave this page, and what its failures mean. */

import * as kept from "./kept.js";
import { number, word } from "./language.js";

/** kind: a word of words.js `failure_…`; said: the server's own text. Plain data, so that a conversation can keep it. */
export class Failure extends Error {
  constructor(kind, details = {}) {
    super(kind);
    this.details = { kind, ...details };
  }
}

const KINDS = { 401: "key", 403: "forbidden", 404: "missing", 409: "conflict", 413: "large", 429: "busy", 503: "unavailable" };
const STATUS = { invalid_request_error: 400, rate_limit_error: 429, unavailable_error: 503 };
const TOO_LONG = ["context_length_exceeded", "exceed_context_size_error"];

/** What happened and what to do, as one paragraph; the server's own text apart. */
export function explain({ kind, param, retry_after, tokens, limit }) {
  const sentences = [word(`failure_${kind}`)];
  if (param) sentences.push(word("failure_param", { param }));
  if (retry_after) sentences.push(word("failure_retry_after", { seconds: number(retry_after) }));
  if (tokens && limit) sentences.push(word("failure_counts", { tokens: number(tokens), limit: number(limit) }));
  return sentences.join(" ");
}

/** A number that JavaScript would round stays text: seeds have 64 bits. */
export function parse(text) {
  return JSON.parse(text, (name, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^\d{16,}$/.test(context?.source ?? "")
      ? context.source
      : value,
  );
}

function failureOf(error, status, retryAfter = null) {
  const code = error.code ?? error.type;
  const kind = TOO_LONG.includes(error.code) || TOO_LONG.includes(error.type)
    ? "long"
    : (KINDS[status] ?? (status >= 500 ? "server" : "refused"));
  return new Failure(kind, {
    said: String(error.message ?? error).slice(0, 2000),
    code,
    param: error.param ?? null,
    retry_after: Number(retryAfter) || null,
    tokens: error.n_prompt_tokens ?? null,
    limit: error.n_ctx ?? null,
  });
}

async function refusal(response) {
  const text = await response.text().catch(() => "");
  let error = { message: text.slice(0, 300) };
  try {
    error = JSON.parse(text).error ?? error;
  } catch {
    // a proxy's page: its text is all there is
  }
  return failureOf(error, response.status, response.headers.get("retry-after"));
}

/** The response of an address of the server; a Failure for anything but success. */
export async function request(path, { body, signal, method = body === undefined ? "GET" : "POST" } = {}) {
  const headers = {};
  if (kept.key.get()) headers.authorization = `Bearer ${kept.key.get()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("network");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function json(path, options) {
  const response = await request(path, options);
  try {
    return parse(await response.text());
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw new Failure("unreadable");
  }
}

/** The data of server-sent events, one text each. */
async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      let read;
      try {
        read = await reader.read();
      } catch (error) {
        if (signal.aborted) throw error;
        throw new Failure("broken");
      }
      if (read.done) return;
      const lines = (rest + read.value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The chunks of an answer. A stream without its last line is a Failure: it is not a short answer. */
export async function* answer(body, signal) {
  const response = await request("v1/chat/completions", { body, signal });
  for await (const data of events(response, signal)) {
    if (data === "[DONE]") return;
    let chunk;
    try {
      chunk = parse(data);
    } catch {
      throw new Failure("unreadable");
    }
    if (chunk.error) throw failureOf(chunk.error, STATUS[chunk.error.type] ?? 500); // the response began with 200
    yield chunk;
  }
  throw new Failure("broken");
}
