#include "receipt/receipt.h"

#include "engine/version.h"

namespace flyball::receipt {

using engine::Decision;
using engine::GenerateOptions;
using engine::Session;
using engine::StopReason;
using engine::Token;

namespace {

// The answer's text from its tokens, as its steps showed it: without the token that ended it, up to the first stop
// string, in whole characters.
Result<Str> answer_text(Arena& arena, const Generation& generation) {
  const tokenizer::Tokenizer& tokenizer = generation.session().model().tokenizer();
  const StopReason reason = generation.stop_reason();
  Span<const Token> tokens = generation.tokens();
  if (reason == StopReason::eos || reason == StopReason::stop_token) tokens.size -= 1;
  u64 size = 0;
  for (const Token token : tokens) size += tokenizer.piece(token).size;
  if (size == 0) return Str();
  const Span<char> text = arena.allocate<char>(size);
  if (text.empty()) return fail(Code::out_of_memory, "receipt") << "no memory for " << size << " bytes of text";
  Writer out(text.data, text.size);
  tokenizer::Decoder decoder(tokenizer, false, generation.prompt()[generation.prompt().size - 1]);
  for (const Token token : tokens) out.put(decoder.next(token));
  Str whole = out.text();
  if (reason != StopReason::stop_string) return whole.substr(0, utf8_complete_prefix(whole));
  u64 first = whole.size;
  for (const Str stop : generation.options().stops) {
    for (u64 i = 0; i < first && i + stop.size <= whole.size; ++i) {
      if (whole.substr(i, stop.size) == stop) first = i;
    }
  }
  return whole.substr(0, first);
}

// Those decisions of the governor that changed or ended this answer.
struct Applied {
  explicit Applied(const Generation& generation) {
    for (const Decision& decision : generation.decisions()) {
      if (decision.applied() && n < sizeof list / sizeof list[0])
        list[n++] = {decision.position, journal::info(decision.reason).id, decision.data.str()};
    }
  }
  runtime::Decided list[4];  // bounded settings, and what ended it
  u64 n = 0;
};

struct Used {
  explicit Used(const engine::AdapterSetting& setting) {
    if (!setting.adapter) return;
    one = {setting.adapter->name(), setting.adapter->fingerprint(), setting.scale};
    n = 1;
  }
  runtime::AdapterUsed one;
  u64 n = 0;
};

// What was asked for, but for the model's fingerprint.
runtime::DigestInput request_of(const Session& session, Span<const Token> prompt, const GenerateOptions& options,
                                const Used& used) {
  runtime::DigestInput content;
  content.context = session.context();
  content.cache_type = engine::cache_type_name(session.cache_type());
  content.adapters = {&used.one, used.n};
  content.sequence = session.sequence();
  content.sampler = options.sampler;
  content.processor = options.processor.name;
  content.constraint = {options.constraint.kind, options.constraint.library, options.constraint.text};
  content.max_tokens = options.max_tokens;
  content.ignore_eos = options.ignore_eos;
  content.stops = options.stops;
  content.stop_tokens = options.stop_tokens;
  content.prompt = prompt;
  return content;
}

Result<runtime::DigestInput> content_of(const Generation& generation, const Applied& applied, const Used& used) {
  if (generation.stop_reason() == StopReason::none)
    return fail(Code::invalid_argument, "receipt") << "the answer is not complete; step until it is done";
  FLYBALL_TRY(generation.file_status());
  runtime::DigestInput content = request_of(generation.session(), generation.prompt(), generation.options(), used);
  content.decisions = {applied.list, applied.n};
  content.tokens = generation.tokens();
  content.logits_hashes = generation.logits_hashes();
  content.stop_reason = stop_reason_name(generation.stop_reason());
  return content;
}

struct HexDigest {
  explicit HexDigest(const Digest& digest) { hex(digest, text); }
  Str str() const { return {text, sizeof text}; }
  char text[64];
};

}  // namespace

Result<Digest> digest(const Generation& generation) {
  const Applied applied(generation);
  const Used used(generation.adapter());
  runtime::DigestInput content;
  FLYBALL_ASSIGN(content, content_of(generation, applied, used));
  FLYBALL_ASSIGN(content.fingerprint, generation.session().model().fingerprint());
  return runtime::answer_digest(content);
}

Digest request_key(const Session& session, Span<const Token> prompt, const GenerateOptions& options,
                   const Digest& fingerprint) {
  const Used used(options.adapter ? *options.adapter : session.adapter());
  runtime::DigestInput content = request_of(session, prompt, options, used);
  content.fingerprint = fingerprint;
  return runtime::request_key(content);
}

Result<Receipt> make_receipt(Arena& arena, const Generation& generation, Progress progress) {
  Receipt receipt;
  FLYBALL_ASSIGN(receipt, draft_receipt(arena, generation));
  Digest fingerprint;
  FLYBALL_ASSIGN(fingerprint, generation.session().model().fingerprint(progress));
  seal(&receipt, fingerprint);
  return receipt;
}

void seal(Receipt* receipt, const Digest& fingerprint) {
  receipt->content.fingerprint = fingerprint;
  receipt->digest = runtime::answer_digest(receipt->content);
}

Result<Receipt> draft_receipt(Arena& arena, const Generation& generation) {
  const Session& session = generation.session();
  const Model& model = session.model();
  Receipt receipt;
  const Applied applied(generation);
  const Used used(generation.adapter());
  FLYBALL_ASSIGN(receipt.content, content_of(generation, applied, used));
  if (used.n != 0) {
    const Span<runtime::AdapterUsed> kept = arena.allocate<runtime::AdapterUsed>(1);
    if (kept.empty()) return fail(Code::out_of_memory, "receipt") << "no memory for the adapter";
    kept[0] = used.one;
    kept[0].name = arena.copy(used.one.name);
    receipt.content.adapters = kept;
  }
  if (applied.n != 0) {
    const Span<runtime::Decided> kept = arena.allocate<runtime::Decided>(applied.n);
    if (kept.empty()) return fail(Code::out_of_memory, "receipt") << "no memory for the decisions";
    memcpy(kept.data, applied.list, applied.n * sizeof(runtime::Decided));
    receipt.content.decisions = kept;
  }
  FLYBALL_ASSIGN(receipt.text, answer_text(arena, generation));
  receipt.template_time = generation.options().template_time.str();
  receipt.flyball_version = engine::version;
  receipt.model_name = model.config().name;
  receipt.model_bytes = model.file_bytes();
  receipt.isa = model.table().name;
  receipt.threads = session.threads();
  receipt.platform = model.platform().name;
  char buffer[1600];
  Writer metrics(buffer, sizeof buffer);
  JsonWriter json(metrics);
  runtime::write_metrics(json, generation.metrics(), cycles_per_second(model.platform()));
  receipt.metrics = arena.copy(metrics.text());
  if (receipt.metrics.empty()) return fail(Code::out_of_memory, "receipt") << "no memory for the metrics";
  return receipt;
}

namespace {

void write_sampler(JsonWriter& json, const runtime::DigestInput& content) {
  const runtime::SamplerSettings& s = content.sampler;
  json.key("sampler").begin_object();
  json.field("temperature", s.temperature).field("top_k", s.top_k).field("top_p", s.top_p).field("min_p", s.min_p);
  json.field("repeat_penalty", s.repeat_penalty).field("repeat_window", s.repeat_window);
  json.field("no_repeat_ngram", s.no_repeat_ngram).field("seed", s.seed).field("sequence", content.sequence);
  json.key("logit_bias").begin_array();
  for (const runtime::LogitBias& entry : s.bias) json.begin_array().value(entry.token).value(entry.bias).end_array();
  json.end_array();
  if (runtime::layout_version(content) >= 2) {
    json.field("presence_penalty", s.presence_penalty).field("frequency_penalty", s.frequency_penalty);
    json.field("logits_processor", content.processor);
  }
  json.end_object();
}

void write_tokens(JsonWriter& json, Str name, Span<const Token> tokens) {
  json.key(name).begin_array();
  for (const Token token : tokens) json.value(token);
  json.end_array();
}

}  // namespace

void write_receipt(const Receipt& receipt, Writer& out) {
  const runtime::DigestInput& content = receipt.content;
  JsonWriter json(out);
  json.begin_object().field("schema_version", runtime::layout_version(content));
  json.field("flyball", receipt.flyball_version);
  json.key("model").begin_object().field("name", receipt.model_name).field("bytes", receipt.model_bytes);
  json.field("fingerprint", HexDigest(content.fingerprint).str()).end_object();
  json.key("settings").begin_object().field("context", content.context).field("cache_type", content.cache_type);
  json.key("adapters").begin_array();
  for (const runtime::AdapterUsed& adapter : content.adapters) {
    json.begin_object().field("name", adapter.name).field("fingerprint", HexDigest(adapter.fingerprint).str());
    json.field("scale", adapter.scale).end_object();
  }
  json.end_array().end_object();
  write_sampler(json, content);
  json.key("limits").begin_object().field("max_tokens", content.max_tokens).field("ignore_eos", content.ignore_eos);
  json.key("stops").begin_array();
  for (const Str stop : content.stops) json.value(stop);
  json.end_array();
  if (runtime::layout_version(content) >= 2) write_tokens(json, "stop_tokens", content.stop_tokens);
  json.end_object();
  if (runtime::layout_version(content) >= 3) {
    const runtime::ConstraintUsed& used = content.constraint;
    json.key("constraint").begin_object().field("kind", used.kind).field("library", used.library);
    json.field("sha256", HexDigest(runtime::hash(used)).str()).field("text", used.text).end_object();
  }
  json.key("decisions").begin_array();
  for (const runtime::Decided& decided : content.decisions) {
    json.begin_object().field("position", decided.position).field("reason_id", decided.reason_id);
    json.key("data").raw(decided.data).end_object();
  }
  json.end_array();
  if (!receipt.template_time.empty()) json.field("template_time", receipt.template_time);
  write_tokens(json, "prompt_tokens", content.prompt);
  write_tokens(json, "tokens", content.tokens);
  json.key("logits_hashes").begin_array();
  for (const Hash128& hash : content.logits_hashes) json.hex(hash.high, hash.low);
  json.end_array().field("text", receipt.text);
  json.key("stop").begin_object().field("reason", content.stop_reason);
  json.field("position", content.tokens.size).end_object();
  json.key("environment").begin_object().field("isa", receipt.isa).field("threads", receipt.threads);
  json.field("platform", receipt.platform).end_object();
  json.key("metrics").raw(receipt.metrics);
  json.field("digest", HexDigest(receipt.digest).str()).end_object();
  out.put('\n');
}

Result<Str> write_receipt(Arena& arena, const Receipt& receipt) {
  const runtime::DigestInput& content = receipt.content;
  // Longest forms: a token is 12 bytes with its comma, a hash 35, a text byte 6 when escaped, a bias entry 40.
  u64 bytes = 4096 + receipt.metrics.size +
              6 * (receipt.text.size + receipt.model_name.size + receipt.platform.size + content.processor.size);
  bytes += 6 * (content.constraint.kind.size + content.constraint.library.size + content.constraint.text.size);
  bytes +=
      12 * (content.prompt.size + content.stop_tokens.size) + 47 * content.tokens.size + 40 * content.sampler.bias.size;
  for (const runtime::AdapterUsed& adapter : content.adapters) bytes += 160 + 6 * adapter.name.size;
  for (const Str stop : content.stops) bytes += 6 * stop.size + 3;
  for (const runtime::Decided& decided : content.decisions) bytes += 128 + decided.data.size;
  const Span<char> memory = arena.allocate<char>(bytes);
  if (memory.empty()) return fail(Code::out_of_memory, "receipt") << "no memory for " << bytes << " bytes";
  Writer out(memory.data, memory.size);
  write_receipt(receipt, out);
  if (out.truncated()) return fail(Code::internal, "receipt") << "does not fit into " << bytes << " bytes";
  return out.text();
}

Result<Str> write_receipt(Arena& arena, const Generation& generation) {
  Receipt receipt;
  FLYBALL_ASSIGN(receipt, make_receipt(arena, generation));
  return write_receipt(arena, receipt);
}

}  // namespace flyball::receipt
