#include "runtime/digest.h"

namespace flyball::runtime {

namespace {

class Fields {  // numbers are 64 bits, little-endian; texts carry their length in front
 public:
  Fields& number(u64 value) { return hash_.update_u64(value), *this; }
  Fields& token(Token value) { return number(u64(i64(value))); }
  Fields& real(f32 value) { return number(bit_cast<u32>(value)); }
  Fields& text(Str value) {
    number(value.size);
    return hash_.update(value), *this;
  }
  Fields& raw(Span<const u8> bytes) { return hash_.update(bytes), *this; }
  Digest finish() { return hash_.finish(); }

 private:
  Sha256 hash_;
};

void write_tokens(Fields& fields, Span<const Token> tokens) {
  fields.number(tokens.size);
  for (const Token token : tokens) fields.token(token);
}

// What an answer follows from, as both hashes have it: all but the prompt, which the digest has after the decisions.
void write_settings(Fields& fields, const DigestInput& in) {
  const u32 version = layout_version(in);
  fields.raw(in.fingerprint.bytes).number(in.context).text(in.cache_type);
  fields.number(in.adapters.size);
  for (const AdapterUsed& adapter : in.adapters) fields.raw(adapter.fingerprint.bytes).real(adapter.scale);

  const SamplerSettings& s = in.sampler;
  fields.real(s.temperature).number(s.top_k).real(s.top_p).real(s.min_p);
  fields.real(s.repeat_penalty).number(s.repeat_window).number(s.no_repeat_ngram);
  fields.number(s.seed).number(in.sequence);
  fields.number(s.bias.size);
  for (const LogitBias& entry : s.bias) fields.token(entry.token).real(entry.bias);
  if (version >= 2) fields.real(s.presence_penalty).real(s.frequency_penalty).text(in.processor);

  fields.number(in.max_tokens).number(in.ignore_eos ? 1 : 0);
  fields.number(in.stops.size);
  for (const Str stop : in.stops) fields.text(stop);
  if (version >= 2) write_tokens(fields, in.stop_tokens);
  if (version >= 3) fields.text(in.constraint.kind).text(in.constraint.library).text(in.constraint.text);
}

}  // namespace

Digest hash(const ConstraintUsed& constraint) {
  Fields fields;
  return fields.text("flyball constraint 1")
      .text(constraint.kind)
      .text(constraint.library)
      .text(constraint.text)
      .finish();
}

u32 layout_version(const DigestInput& in) {
  if (!in.constraint.kind.empty()) return 3;
  const bool newer = in.sampler.presence_penalty != 0 || in.sampler.frequency_penalty != 0 || !in.processor.empty() ||
                     !in.stop_tokens.empty();
  return newer ? 2 : 1;
}

Digest answer_digest(const DigestInput& in) {
  constexpr Str tags[] = {"flyball answer 1", "flyball answer 2", "flyball answer 3"};
  Fields fields;
  fields.text(tags[layout_version(in) - 1]);
  write_settings(fields, in);
  fields.number(in.decisions.size);
  for (const Decided& decided : in.decisions) fields.number(decided.position).text(decided.reason_id);
  write_tokens(fields, in.prompt);
  fields.number(in.tokens.size);
  for (u64 i = 0; i < in.tokens.size; ++i) {
    fields.token(in.tokens[i]).number(in.logits_hashes[i].low).number(in.logits_hashes[i].high);
  }
  return fields.text(in.stop_reason).finish();
}

Digest request_key(const DigestInput& in) {
  constexpr Str tags[] = {"flyball request 1", "flyball request 2", "flyball request 3"};
  Fields fields;
  fields.text(tags[layout_version(in) - 1]);
  write_settings(fields, in);
  write_tokens(fields, in.prompt);
  return fields.finish();
}

}  // namespace flyball::runtime
