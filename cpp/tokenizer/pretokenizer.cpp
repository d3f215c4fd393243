#include "tokenizer/pretokenizer.h"

namespace flyball::tokenizer {
namespace {

using regex::compiled;
using regex::Program;

// Expressions as their tokenizer.json has them. Characters outside ASCII are escaped: K and U+212A look the same.
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re"
#define UPPER_THEN_LOWER R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)re"
#define UPPER_MAYBE_LOWER R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)re"
#define CJK R"re([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)re"
// Unicode's script of that name.
#define HAN                                                                                                \
  R"re(\x{2e80}-\x{2e99}\x{2e9b}-\x{2ef3}\x{2f00}-\x{2fd5}\x{3005}\x{3007}\x{3021}-\x{3029}\x{3038})re"    \
  R"re(-\x{303b}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{fa6d}\x{fa70}-\x{fad9}\x{16fe2}\x{16fe3})re" \
  R"re(\x{16ff0}\x{16ff1}\x{20000}-\x{2a6df}\x{2a700}-\x{2b739}\x{2b740}-\x{2b81d}\x{2b820}-\x{2cea1})re"  \
  R"re(\x{2ceb0}-\x{2ebe0}\x{2ebf0}-\x{2ee5d}\x{2f800}-\x{2fa1d}\x{30000}-\x{3134a}\x{31350}-\x{323af})re"
#define NOT_HAN "&&[^" HAN "]]"
#define ASCII_PUNCTUATION_WORD R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)re"

constexpr const Program* gpt2 =
    &compiled<R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re">;
constexpr const Program* one_number = &compiled<R"re(\p{N})re">;
constexpr const Program* numbers = &compiled<R"re(\p{N}+)re">;
constexpr const Program* three_numbers = &compiled<R"re(\p{N}{1,3})re">;
constexpr const Program* three_digits = &compiled<"[0-9][0-9][0-9]">;
constexpr const Program* newline = &compiled<R"re([\r\n])re">;
constexpr const Program* lines = &compiled<R"re([^\n]+|[\n]+)re">;
constexpr const Program* cjk = &compiled<CJK>;
constexpr const Program* cjk_and_hangul = &compiled<R"re([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)re">;
constexpr const Program* qwen2 =
    &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)re" SPACES>;

constexpr const Program* default_stages[] = {&compiled<R"re([\p{P}\$\+<=>\^~\|]+)re">, gpt2, numbers, three_digits};
constexpr const Program* gpt2_stages[] = {gpt2};
constexpr const Program* starcoder_stages[] = {one_number, gpt2};
constexpr const Program* superbpe_stages[] = {numbers, &compiled<R"re((?=(?:\d{3})+(?!\d)))re">};
constexpr const Program* chameleon_stages[] = {&compiled<"<sentinel:[0-9]+>">,           &compiled<"IMGIMG[A-I]{1,4}Z">,
                                               &compiled<R"re([\x{9}\n]|    |  )re">,    one_number,
                                               &compiled<R"re([\p{P}!-/:-@\[-`{-~])re">, gpt2};
constexpr const Program* falcon_stages[] = {&compiled<R"re([\p{P}\$\+<=>\^~\|`]+)re">, gpt2, three_digits};
constexpr const Program* llama3_stages[] = {
    &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)re" SPACES>};
constexpr const Program* jais2_stages[] = {
    &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)re"
                           R"re(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))re"
                           R"re(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})re">};
constexpr const Program* qwen2_stages[] = {qwen2};
constexpr const Program* line_stages[] = {lines};
constexpr const Program* laguna_stages[] = {lines, qwen2};
constexpr const Program* qwen35_stages[] = {
    &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)re" SPACES>};
constexpr const Program* ufakzeka_stages[] = {
    &compiled<R"re([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)re" SPACES>};
constexpr const Program* minicpm5_stages[] = {
    three_numbers, &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*)re" SPACES>};
constexpr const Program* seed_coder_stages[] = {
    &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)re" SPACES>};
// tokenizer.json has (?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+ for its words, which is the same.
constexpr const Program* exaone_moe_stages[] = {
    &compiled<CONTRACTIONS R"re(|[^\r\n\p{L}\p{N}]?\p{L}\p{M}*(?: ?\p{L}\p{M}*)*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?)re"
                           R"re(|\s*[\r\n]|\s+(?!\S)|\s+)re">};
// tokenizer.json has possessive ?+ and ++ here; what follows cannot match what they would give back: greedy is the same.
constexpr const Program* bailing_stages[] = {
    &compiled<R"re((?i:'s|'d|'m|'t|'ll|'ve|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
              R"re(|\s*[\r\n]|\s+(?!\S)|\s+)re">};
constexpr const Program* gpt4o =
    &compiled<UPPER_THEN_LOWER CONTRACTIONS "?|" UPPER_MAYBE_LOWER CONTRACTIONS
                                            R"re(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*)re" SPACES>;
constexpr const Program* gpt4o_stages[] = {gpt4o};
constexpr const Program* tiny_aya_stages[] = {&compiled<R"re(\d{1,3}(?=(?:\d{3})*\b))re">, gpt4o};
constexpr const Program* kimi_stages[] = {&compiled<"[" HAN "]+|"
                                                    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M})re" NOT_HAN
                                                    R"re(*[\p{Ll}\p{Lm}\p{Lo}\p{M})re" NOT_HAN "+" CONTRACTIONS "?|"
                                                    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M})re" NOT_HAN
                                                    R"re(+[\p{Ll}\p{Lm}\p{Lo}\p{M})re" NOT_HAN "*" CONTRACTIONS
                                                    R"re(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)re" SPACES>};
constexpr const Program* tekken_stages[] = {
    &compiled<UPPER_THEN_LOWER "|" UPPER_MAYBE_LOWER R"re(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)re" SPACES>};
constexpr const Program* youtu_stages[] = {
    &compiled<
        R"re([\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+|[\x{ff01}\x{2026}\x{201c}\x{201d}\x{2018}\x{2019}\x{2014}\x{ff1a})re"
        R"re(\x{ff1b}\x{ff0c}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]+|[\x{3105}-\x{312f}]+|)re" CJK>,
    &compiled<UPPER_THEN_LOWER CONTRACTIONS "?|" UPPER_MAYBE_LOWER CONTRACTIONS
                                            R"re(?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)re" SPACES>};
constexpr const Program* deepseek3 =
    &compiled<ASCII_PUNCTUATION_WORD R"re(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)re" SPACES>;
constexpr const Program* deepseek3_stages[] = {three_numbers, cjk, deepseek3};
// Its digits as llama.cpp groups them.
constexpr const Program* afmoe_stages[] = {
    &compiled<R"re(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))re">,
    &compiled<R"re([\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{309f}\x{30a0}-\x{30ff}\x{ff65})re"
              R"re(-\x{ff9f}\x{2f00}-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f})re"
              R"re(\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+)re">,
    deepseek3};
constexpr const Program* spark_stages[] = {
    three_numbers, cjk,
    &compiled<ASCII_PUNCTUATION_WORD
              R"re(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)re">,
    one_number};
constexpr const Program* deepseek_coder_stages[] = {newline, &compiled<R"re(\s?\p{L}+)re">,
                                                    &compiled<R"re(\s?\p{P}+)re">, cjk_and_hangul, one_number};
// The letters are a list that its authors froze: neither \p{L} nor the cased letters of any Unicode version.
constexpr const Program* deepseek_llm_stages[] = {
    newline,
    &compiled<R"re(\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})re"
              R"re(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c})re"
              R"re(\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5})re"
              R"re(\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b})re"
              R"re(\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45})re"
              R"re(\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4})re"
              R"re(\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb})re"
              R"re(\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115})re"
              R"re(\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139})re"
              R"re(\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4})re"
              R"re(\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f})re"
              R"re(\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17})re"
              R"re(\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb})re"
              R"re(\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)re">,
    &compiled<R"re(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)re">,
    &compiled<R"re(\s+$)re">,
    cjk_and_hangul,
    numbers};
constexpr const Program* bloom =
    &compiled<R"re( ?[^(\s|.,!?\x{2026}\x{3002}\x{ff0c}\x{3001}\x{964}\x{6d4}\x{60c})]+)re">;
constexpr const Program* bloom_stages[] = {bloom};
constexpr const Program* viking_stages[] = {bloom, one_number};

#undef CONTRACTIONS
#undef SPACES
#undef UPPER_THEN_LOWER
#undef UPPER_MAYBE_LOWER
#undef CJK
#undef HAN
#undef NOT_HAN
#undef ASCII_PUNCTUATION_WORD

constexpr bool whole_words = true;
constexpr bool add_bos = true;

constexpr PreTokenizer table[] = {
    {"default", default_stages},
    {"llama-bpe", llama3_stages, whole_words, add_bos},
    {"llama3", llama3_stages, whole_words, add_bos},
    {"llama-v3", llama3_stages, whole_words, add_bos},
    {"falcon3", llama3_stages, whole_words, add_bos},
    {"falcon-h1", llama3_stages, whole_words, add_bos},
    {"pixtral", llama3_stages, whole_words, add_bos},
    {"midm-2.0", llama3_stages, whole_words, add_bos},
    {"lfm2", llama3_stages, whole_words, add_bos},
    {"jina-v5-nano", llama3_stages, whole_words, add_bos},
    {"dbrx", llama3_stages},
    {"smaug-bpe", llama3_stages},
    {"chatglm-bpe", llama3_stages},
    {"glm4", llama3_stages, whole_words},
    {"glm5", llama3_stages, whole_words},
    {"jais-2", jais2_stages},
    {"minicpm5", minicpm5_stages, whole_words},
    {.name = "qwen2", .stages = qwen2_stages, .composes = true},
    {.name = "deepseek-r1-qwen", .stages = qwen2_stages, .composes = true},
    {"kormo", qwen2_stages},
    {.name = "f2llmv2", .stages = qwen2_stages, .composes = true},
    {"megrez", qwen2_stages},
    {"stablelm2", qwen2_stages},
    {"hunyuan", qwen2_stages},
    {"solar-open", qwen2_stages},
    {"grok-2", qwen2_stages},
    {.name = "qwen35", .stages = qwen35_stages, .composes = true},
    {"laguna", laguna_stages},
    {"ufakzeka", ufakzeka_stages},
    {"seed-coder", seed_coder_stages},
    {"exaone-moe", exaone_moe_stages},
    {"bailingmoe", bailing_stages},
    {"bailingmoe2", bailing_stages},
    {"llada-moe", bailing_stages},
    {"gpt-2", gpt2_stages},
    {"phi-2", gpt2_stages},
    {.name = "mpt", .stages = gpt2_stages, .composes = true},
    {.name = "olmo", .stages = gpt2_stages, .composes = true},
    {"jais", gpt2_stages},
    {"trillion", gpt2_stages},
    {"granite-docling", gpt2_stages},
    {"exaone4", gpt2_stages},
    {"gigachat", gpt2_stages},
    {"a.x-4.0", gpt2_stages},
    {"mellum", gpt2_stages},
    {"modern-bert", gpt2_stages},
    {"roberta-bpe", gpt2_stages},
    {"jina-es", gpt2_stages},
    {"jina-de", gpt2_stages},
    {"jina-v1-en", gpt2_stages},
    {"jina-v2-es", gpt2_stages},
    {"jina-v2-de", gpt2_stages},
    {"jina-v2-code", gpt2_stages},
    {"starcoder", starcoder_stages},
    {"refact", starcoder_stages},
    {.name = "command-r", .stages = starcoder_stages, .composes = true},
    {"smollm", starcoder_stages},
    {"codeshell", starcoder_stages},
    {"exaone", starcoder_stages},
    {"minerva-7b", starcoder_stages},
    {"mellum2", starcoder_stages},
    {"superbpe", superbpe_stages},
    {"chameleon", chameleon_stages, !whole_words, add_bos},
    {"falcon", falcon_stages},
    {"gpt-4o", gpt4o_stages},
    {"llama4", gpt4o_stages},
    {"kanana2", gpt4o_stages},
    {"talkie", gpt4o_stages},
    {"minimax-m2", gpt4o_stages},
    {"granite-embed-multi-97m", gpt4o_stages, whole_words},
    {"tiny_aya", tiny_aya_stages},
    {"cohere2moe", tiny_aya_stages},
    {"kimi-k2", kimi_stages},
    {"tekken", tekken_stages, whole_words, add_bos},
    {"youtu", youtu_stages, whole_words},
    {"deepseek-llm", deepseek_llm_stages},
    {"deepseek-coder", deepseek_coder_stages},
    {"deepseek-v3", deepseek3_stages},
    {"afmoe", afmoe_stages},
    {"hunyuan-dense", deepseek3_stages},
    {"joyai-llm", deepseek3_stages},
    {"hy_v4", deepseek3_stages},
    {"spark2_5", spark_stages},
    {"bloom", bloom_stages},
    {"gpt3-finnish", bloom_stages},
    {"poro-chat", bloom_stages},
    {"viking", viking_stages},
    {.name = "gemma4", .stages = line_stages, .characters = true, .gemma = true},
    {.name = "granite-embed-multi-311m", .stages = line_stages, .characters = true, .gemma = true},
    {.name = "sarvam-moe", .stages = line_stages, .characters = true},
};

}  // namespace

const PreTokenizer* find_pre_tokenizer(Str name) {
  for (const PreTokenizer& pre : table) {
    if (pre.name == name) return &pre;
  }
  return nullptr;
}

Span<const PreTokenizer> pre_tokenizers() { return table; }

void split_words(const PreTokenizer& pre, Span<Char> text) {
  if (text.empty()) return;
  text[text.size - 1] |= word_end;
  for (const regex::Program* stage : pre.stages) regex::split(*stage, text);
}

}  // namespace flyball::tokenizer
