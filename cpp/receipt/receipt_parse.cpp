// A receipt from hostile text.
#include "receipt/receipt.h"

namespace flyball::receipt {

using engine::StopReason;
using engine::Token;

namespace {

constexpr u64 max_receipt_bytes = u64(256) << 20;

class ReceiptParser {
 public:
  explicit ReceiptParser(Arena& arena) : arena_(arena) {}

  Result<Receipt> parse(const Json& root) {
    Receipt r;
    runtime::DigestInput& content = r.content;
    FLYBALL_TRY(number(root, "schema_version", 1, Receipt::newest_version, &version_));
    FLYBALL_TRY(string(root, "flyball", &r.flyball_version));
    FLYBALL_TRY(model(root, &r));
    FLYBALL_TRY(settings(root, &content));
    FLYBALL_TRY(sampler(root, &content));
    FLYBALL_TRY(limits(root, &content));
    FLYBALL_TRY(constraint(root, &content.constraint));
    FLYBALL_TRY(decisions(root, &content));
    FLYBALL_TRY(template_time(root, &r));
    FLYBALL_TRY(tokens(root, "prompt_tokens", &content.prompt));
    FLYBALL_TRY(tokens(root, "tokens", &content.tokens));
    FLYBALL_TRY(hashes(root, &content));
    FLYBALL_TRY(string(root, "text", &r.text));
    FLYBALL_TRY(stop(root, &content));
    FLYBALL_TRY(environment(root, &r));
    FLYBALL_TRY(digest(root, "digest", &r.digest));
    Json metrics;
    FLYBALL_TRY(object(root, "metrics", &metrics));
    r.metrics = metrics.raw();
    return r;
  }

 private:
  Status member(const Json& parent, Str name, JsonType type, Json* out) {
    FLYBALL_ASSIGN(*out, parent.member(name));
    FLYBALL_ASSIGN(*out, out->expect(name, type));
    return {};
  }
  Status object(const Json& parent, Str name, Json* out) { return member(parent, name, JsonType::object, out); }
  Status array(const Json& parent, Str name, Json* out) { return member(parent, name, JsonType::array, out); }

  Status string(const Json& parent, Str name, Str* out) {
    Json value;
    FLYBALL_TRY(member(parent, name, JsonType::string, &value));
    FLYBALL_ASSIGN(*out, value.as_string(arena_, name));
    return {};
  }

  template <class T>
  Status number(const Json& parent, Str name, u64 low, u64 high, T* out) {
    Json value;
    FLYBALL_ASSIGN(value, parent.member(name));
    u64 read = 0;
    FLYBALL_ASSIGN(read, value.as_u64(name, low, high));
    *out = T(read);
    return {};
  }

  Status real(const Json& parent, Str name, f32* out) {
    Json value;
    FLYBALL_ASSIGN(value, parent.member(name));
    FLYBALL_ASSIGN(*out, value.as_f32(name));
    return {};
  }

  Status digest(const Json& parent, Str name, Digest* out) {
    Json value;
    FLYBALL_TRY(member(parent, name, JsonType::string, &value));
    Str text;
    FLYBALL_ASSIGN(text, value.as_string(arena_, name));
    if (text.size != 64 || !parse_hex(text, out)) {
      return fail(Code::corrupt, name, value.offset()) << "must be 64 hexadecimal digits";
    }
    return {};
  }

  Status adapters(const Json& parent, runtime::DigestInput* content) {
    Json list;
    FLYBALL_TRY(array(parent, "adapters", &list));
    if (list.count() > 1)
      return fail(Code::unsupported, "adapters", list.offset())
             << "has " << list.count() << " entries; this version of Flyball computes with one adapter at a time";
    Span<runtime::AdapterUsed> used;
    FLYBALL_TRY(make_room("adapters", list.count(), &used));
    u64 n = 0;
    for (JsonItems items(list); items.next(); ++n) {
      Json entry;
      FLYBALL_ASSIGN(entry, items.value().expect("adapters", JsonType::object));
      FLYBALL_TRY(string(entry, "name", &used[n].name));
      FLYBALL_TRY(digest(entry, "fingerprint", &used[n].fingerprint));
      FLYBALL_TRY(real(entry, "scale", &used[n].scale));
    }
    content->adapters = used;
    return {};
  }

  Status decisions(const Json& root, runtime::DigestInput* content) {
    Json list;
    FLYBALL_TRY(array(root, "decisions", &list));
    Span<runtime::Decided> decided;
    FLYBALL_TRY(make_room("decisions", list.count(), &decided));
    u64 n = 0;
    for (JsonItems items(list); items.next(); ++n) {
      const Json& entry = items.value();
      FLYBALL_TRY(entry.expect("decisions", JsonType::object).ok() ? Status() : bad_decision(entry));
      FLYBALL_TRY(number(entry, "position", 0, ~u32(0), &decided[n].position));
      FLYBALL_TRY(string(entry, "reason_id", &decided[n].reason_id));
      journal::Reason known;
      if (!journal::find_reason(decided[n].reason_id, &known)) return bad_decision(entry);
      Json data;
      FLYBALL_TRY(object(entry, "data", &data));
      decided[n].data = data.raw();
    }
    content->decisions = decided;
    return {};
  }
  static Status bad_decision(const Json& entry) {
    return fail(Code::corrupt, "decisions", entry.offset()) << "must be objects with a registered reason_id";
  }

  template <class T>
  Status make_room(Str name, u64 n, Span<T>* out) {
    if (n == 0) return {};
    *out = arena_.allocate<T>(n);
    if (out->empty()) return fail(Code::out_of_memory, name) << "no memory for " << n << " entries";
    return {};
  }

  Status tokens(const Json& parent, Str name, Span<const Token>* out) {
    Json list;
    FLYBALL_TRY(array(parent, name, &list));
    Span<Token> ids;
    FLYBALL_TRY(make_room(name, list.count(), &ids));
    u64 n = 0;
    for (JsonItems items(list); items.next(); ++n) {
      u64 id = 0;
      FLYBALL_ASSIGN(id, items.value().as_u64(name, 0, 0x7fffffff));
      ids[n] = Token(id);
    }
    *out = ids;
    return {};
  }

  Status hashes(const Json& parent, runtime::DigestInput* content) {
    Json list;
    FLYBALL_TRY(array(parent, "logits_hashes", &list));
    Span<Hash128> hashes;
    FLYBALL_TRY(make_room("logits_hashes", list.count(), &hashes));
    if (hashes.size != content->tokens.size) {
      return fail(Code::corrupt, "logits_hashes", list.offset())
             << "has " << hashes.size << " entries, but there are " << content->tokens.size << " tokens";
    }
    u64 n = 0;
    for (JsonItems items(list); items.next(); ++n) {
      if (!parse_hash(items.value().raw(), &hashes[n])) {
        return fail(Code::corrupt, "logits_hashes", items.value().offset())
               << "must be 32 lower-case hexadecimal digits";
      }
    }
    content->logits_hashes = hashes;
    return {};
  }

  static bool parse_hash(Str quoted, Hash128* out) {
    if (quoted.size != 34 || quoted[0] != '"') return false;
    u64 words[2] = {};
    for (u64 i = 0; i < 32; ++i) {
      const char c = quoted[i + 1];
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
      words[i / 16] = words[i / 16] << 4 | u64(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = {words[1], words[0]};
    return true;
  }

  Status model(const Json& root, Receipt* r) {
    Json part;
    FLYBALL_TRY(object(root, "model", &part));
    FLYBALL_TRY(string(part, "name", &r->model_name));
    FLYBALL_TRY(number(part, "bytes", 0, ~u64(0), &r->model_bytes));
    return digest(part, "fingerprint", &r->content.fingerprint);
  }

  Status settings(const Json& root, runtime::DigestInput* content) {
    Json part;
    FLYBALL_TRY(object(root, "settings", &part));
    FLYBALL_TRY(number(part, "context", 1, ~u32(0), &content->context));
    FLYBALL_TRY(string(part, "cache_type", &content->cache_type));
    return adapters(part, content);
  }

  Status sampler(const Json& root, runtime::DigestInput* content) {
    runtime::SamplerSettings& s = content->sampler;
    Json part;
    FLYBALL_TRY(object(root, "sampler", &part));
    FLYBALL_TRY(real(part, "temperature", &s.temperature));
    FLYBALL_TRY(number(part, "top_k", 0, ~u32(0), &s.top_k));
    FLYBALL_TRY(real(part, "top_p", &s.top_p));
    FLYBALL_TRY(real(part, "min_p", &s.min_p));
    FLYBALL_TRY(real(part, "repeat_penalty", &s.repeat_penalty));
    FLYBALL_TRY(number(part, "repeat_window", 0, ~u32(0), &s.repeat_window));
    FLYBALL_TRY(number(part, "no_repeat_ngram", 0, ~u32(0), &s.no_repeat_ngram));
    FLYBALL_TRY(number(part, "seed", 0, ~u64(0), &s.seed));
    FLYBALL_TRY(number(part, "sequence", 0, ~u64(0), &content->sequence));
    FLYBALL_TRY(logit_bias(part, &s));
    if (version_ < 2) return {};
    FLYBALL_TRY(real(part, "presence_penalty", &s.presence_penalty));
    FLYBALL_TRY(real(part, "frequency_penalty", &s.frequency_penalty));
    return string(part, "logits_processor", &content->processor);
  }

  Status logit_bias(const Json& parent, runtime::SamplerSettings* s) {
    Json list;
    FLYBALL_TRY(array(parent, "logit_bias", &list));
    Span<runtime::LogitBias> bias;
    FLYBALL_TRY(make_room("logit_bias", list.count(), &bias));
    u64 n = 0;
    for (JsonItems entries(list); entries.next(); ++n) {
      JsonItems pair(entries.value());
      u64 token = 0;
      if (!pair.next()) return bad_bias(entries.value());
      FLYBALL_ASSIGN(token, pair.value().as_u64("logit_bias", 0, 0x7fffffff));
      if (!pair.next()) return bad_bias(entries.value());
      FLYBALL_ASSIGN(bias[n].bias, pair.value().as_f32("logit_bias"));
      bias[n].token = Token(token);
      if (pair.next()) return bad_bias(entries.value());
    }
    s->bias = bias;
    return {};
  }
  static Status bad_bias(const Json& entry) {
    return fail(Code::corrupt, "logit_bias", entry.offset()) << "must be pairs of a token and a number";
  }

  Status limits(const Json& root, runtime::DigestInput* content) {
    Json part, list;
    FLYBALL_TRY(object(root, "limits", &part));
    FLYBALL_TRY(number(part, "max_tokens", 1, ~u32(0), &content->max_tokens));
    Json ignore;
    FLYBALL_ASSIGN(ignore, part.member("ignore_eos"));
    FLYBALL_ASSIGN(content->ignore_eos, ignore.as_bool("ignore_eos"));
    FLYBALL_TRY(array(part, "stops", &list));
    Span<Str> stops;
    FLYBALL_TRY(make_room("stops", list.count(), &stops));
    u64 n = 0;
    for (JsonItems items(list); items.next(); ++n) FLYBALL_ASSIGN(stops[n], items.value().as_string(arena_, "stops"));
    content->stops = {stops.data, stops.size};
    return version_ < 2 ? Status() : tokens(part, "stop_tokens", &content->stop_tokens);
  }

  Status constraint(const Json& root, runtime::ConstraintUsed* used) {
    if (version_ < 3) return {};
    Json part;
    Digest hash;
    FLYBALL_TRY(object(root, "constraint", &part));
    FLYBALL_TRY(string(part, "kind", &used->kind));
    FLYBALL_TRY(string(part, "library", &used->library));
    FLYBALL_TRY(string(part, "text", &used->text));
    FLYBALL_TRY(digest(part, "sha256", &hash));
    if (used->kind.empty()) return fail(Code::corrupt, "kind", part.offset()) << "is empty";
    if (!(hash == runtime::hash(*used)))
      return fail(Code::corrupt, "sha256", part.offset()) << "is not that of the constraint's kind, library and text";
    return {};
  }

  Status stop(const Json& root, runtime::DigestInput* content) {
    Json part;
    FLYBALL_TRY(object(root, "stop", &part));
    FLYBALL_TRY(string(part, "reason", &content->stop_reason));
    bool known = false;
    for (u32 reason = u32(StopReason::eos); reason <= u32(StopReason::memory_guard); ++reason) {
      known = known || stop_reason_name(StopReason(reason)) == content->stop_reason;
    }
    if (!known)
      return fail(Code::corrupt, "reason", part.offset()) << "'" << content->stop_reason << "' is not a stop reason";
    u64 position = 0;
    return number(part, "position", content->tokens.size, content->tokens.size, &position);
  }

  Status template_time(const Json& root, Receipt* r) {
    Json value;
    if (!root.find("template_time", &value)) return {};
    FLYBALL_TRY(string(root, "template_time", &r->template_time));
    if (r->template_time.size <= 32) return {};
    return fail(Code::corrupt, "template_time", value.offset()) << "has more than 32 bytes";
  }

  Status environment(const Json& root, Receipt* r) {
    Json part;
    FLYBALL_TRY(object(root, "environment", &part));
    FLYBALL_TRY(string(part, "isa", &r->isa));
    FLYBALL_TRY(number(part, "threads", 0, ~u32(0), &r->threads));
    return string(part, "platform", &r->platform);
  }

  Arena& arena_;
  u64 version_ = 0;
};

}  // namespace

Result<Receipt> parse_receipt(Arena& arena, Str text) {
  if (text.size > max_receipt_bytes) {
    return fail(Code::corrupt, "receipt") << "has " << text.size << " bytes, at most " << max_receipt_bytes;
  }
  Json root;
  FLYBALL_ASSIGN(root, Json::parse(text));
  FLYBALL_ASSIGN(root, root.expect("receipt", JsonType::object));
  return ReceiptParser(arena).parse(root);
}

}  // namespace flyball::receipt
