// Configuration (contract 4): one list of keys; `key = value` lines, a subset of TOML, the same on the host and in the boot image.
#pragma once

#include "governor/settings.h"

namespace flyball::settings {

// TEXT(key, default, meaning)  CHOICE(key, default, choices, meaning)
// INTEGER(key, default, least, most, meaning)  REAL(key, default, least, most, meaning)
// The governor's own keys follow these: governor/settings.h.
#define FLYBALL_CONFIG(TEXT, CHOICE, INTEGER, REAL)                                                                   \
  TEXT("model", "", "path of the GGUF file; empty: the bundled demonstration model")                                  \
  TEXT("isa", "auto", "instruction set: auto, or a name that the processor can run")                                  \
  INTEGER("threads", "0", 0, 1024, "threads that compute; 0: one per processor")                                      \
  INTEGER("decode_threads", "0", 0, 1024, "threads for steps without a prompt; 0: as many as threads")                \
  CHOICE("tune", "auto", "auto off refresh", "choose threads by short probes, where none are set, and cache them")    \
  CHOICE("objective", "latency", "latency throughput quiet", "goal of tune: one answer, many at once, few threads")   \
  INTEGER("context", "0", 0, 4194304, "context limit in tokens; 0: the model's own, at most 8192")                    \
  CHOICE("cache_type", "f16", "f16 f32 q8_0", "type of the cached keys and values")                                   \
  INTEGER("batch", "192", 1, 65536, "prompt tokens per transformer call; cannot change a result")                     \
  INTEGER("prefix_cache_mb", "64", 0, 1048576, "MiB of keys and values kept for prompts that begin alike; 0: none")   \
  CHOICE("packed_copy", "auto", "auto on off", "packed weights in the cache folder: auto, where memory is too small") \
  INTEGER("packed_copies_gb", "64", 0, 1048576, "GiB of packed copies there, at most: the oldest make room")          \
  CHOICE("speculate", "auto", "auto off always", "verify draft tokens, several in a call; cannot change a result")    \
  TEXT("journal", "", "path of the journal, a file of events and decisions; empty: none")                             \
  INTEGER("journal_max_kb", "8192", 1, 4194304, "KiB of the journal's newest file, above which it is rotated")        \
  INTEGER("journal_files", "8", 1, 1000000, "rotated files of the journal that remain")                               \
  TEXT("log", "", "path of the log, the journal as lines of text; empty: none")                                       \
  TEXT("policy_file", "", "path of the file for the policy's changes; empty: none")                                   \
  TEXT("draft", "", "path of a draft model with the same vocabulary; empty: prompt lookup")                           \
  TEXT("adapter", "", "path of a LoRA adapter of the model, or PATH:SCALE; empty: none")                              \
  INTEGER("max_tokens", "512", 1, 16777216, "tokens of an answer, at most")                                           \
  REAL("sampling.temperature", "0.8", 0, 100, "0: always the likeliest token")                                        \
  INTEGER("sampling.top_k", "40", 0, 4294967295, "only the k likeliest tokens; 0: all")                               \
  REAL("sampling.top_p", "0.95", 0.000001, 1, "only the likeliest tokens that together reach p; 1: all")              \
  REAL("sampling.min_p", "0.05", 0, 1, "only tokens at least p times as likely as the likeliest; 0: all")             \
  REAL("sampling.repeat_penalty", "1.0", 0.01, 100, "divides the logits of tokens in the window; 1: off")             \
  INTEGER("sampling.repeat_window", "64", 0, 16777216, "last tokens that the penalty looks at")                       \
  REAL("sampling.presence_penalty", "0.0", -100, 100, "subtracted from the logits of tokens in the answer; 0: off")   \
  REAL("sampling.frequency_penalty", "0.0", -100, 100, "subtracted once per time that the answer has the token")      \
  INTEGER("sampling.no_repeat_ngram", "0", 0, 64, "bans a token that would complete an n-gram seen before; 0: off")   \
  INTEGER("sampling.seed", "0", 0, 18446744073709551615u, "the same seed draws the same tokens")                      \
  TEXT("serve.host", "127.0.0.1", "address of the server; one that others can reach needs an API key")                \
  INTEGER("serve.port", "8080", 0, 65535, "port of the server; 0: a free one")                                        \
  TEXT("serve.allowed_hosts", "", "further names by which clients may address the server, with spaces between")       \
  TEXT("serve.allowed_origins", "", "origins of other sites whose pages may ask, with spaces between")                \
  TEXT("serve.models", "", "folder whose GGUF files are served by name; empty: flyball/models in the data folder")    \
  TEXT("serve.aliases", "", "further names of a model, with spaces between: models.NAME.serve.aliases")               \
  INTEGER("serve.keep_alive", "300", 0, 31536000, "seconds until a model of the folder is unloaded if nobody asks")   \
  INTEGER("serve.memory_mb", "0", 0, 1073741824,                                                                      \
          "MiB that loaded models may have; 0: three quarters of the machine's")                                      \
  TEXT("serve.store", "", "database of requests, receipts and feedback: a path, postgresql://..., or none")           \
  INTEGER("serve.receipt_hours", "24", 0, 876000, "hours that receipts are kept; they have prompts and answers")      \
  CHOICE("serve.keep_text", "off", "off on", "store the texts of prompts and answers with the requests")              \
  CHOICE("serve.memory", "off", "off on", "chats get what is remembered of their user, unless they say otherwise")    \
  TEXT("serve.routes", "", "path of the registry of routes, routes.toml; empty: requests name their models")          \
  TEXT("serve.name", "", "name of the server in what it signs; empty: the machine's")                                 \
  INTEGER("serve.parallel", "64", 1, 4096, "answers that are computed at once; other requests wait")                  \
  INTEGER("serve.waiting", "256", 0, 1048576, "requests that may wait; more are told to come again")                  \
  INTEGER("serve.waiting_tokens", "1048576", 1, 1099511627776u, "tokens that the waiting requests may have together") \
  INTEGER("serve.cache_mb", "4096", 1, 1048576, "MiB of keys and values that running answers may have")               \
  CHOICE("serve.adapters", "active", "off active", "answer with the adapter that is active in the registry")          \
  CHOICE("serve.canary", "rollback", "off rollback promote", "what a canary's outcomes may do by themselves")         \
  TEXT("serve.response_cache", "off", "answers that are given again: off, store (in serve.store), or redis://HOST")   \
  INTEGER("serve.response_cache_hours", "24", 1, 720, "hours that such answers are kept")                             \
  INTEGER("serve.response_cache_mb", "256", 1, 1048576, "MiB of them that a project may have in the store")           \
  REAL("serve.response_cache_verify", "0.01", 0, 1, "share of those given again that are computed once more")         \
  TEXT("serve.jwt_keys", "", "path of the public keys (JWKS or PEM) whose JSON web tokens are accepted as API keys")  \
  TEXT("serve.jwt_issuer", "", "issuer that such tokens must name")                                                   \
  TEXT("serve.jwt_audience", "", "audience that such tokens must name; empty: flyball")                               \
  INTEGER("serve.body_kb", "32768", 1, 1048576, "KiB of a request's body, at most")                                   \
  INTEGER("serve.drain_seconds", "30", 0, 86400, "time that running answers have when the server ends")               \
  INTEGER("serve.stall_seconds", "60", 1, 86400, "a step that takes longer makes the server count as stalled")        \
  TEXT("edge.host", "127.0.0.1", "address of the edge, which hands requests on to replicas")                          \
  INTEGER("edge.port", "8090", 0, 65535, "port of the edge; 0: a free one")                                           \
  TEXT("edge.replicas", "", "addresses of the replicas, with spaces between: http://HOST:PORT")                       \
  REAL("edge.verify", "0.01", 0, 1, "share of the answers that another replica computes once more")                   \
  TEXT("edge.alerts", "data/aiops/alerts.jsonl", "file that gets a line for each alert of the edge")                  \
  CHOICE("memory.learn", "off", "off on", "remember what users state of themselves, found by rules")                  \
  INTEGER("memory.tokens", "512", 16, 65536, "tokens of what is remembered in a prompt, at most")                     \
  INTEGER("memory.examples", "0", 0, 16, "approved corrections that a prompt shows as earlier turns; 0: none")        \
  TEXT("memory.embedding", "", "path of an embedding model that compares documents; empty: by words alone")

// Names of version 0.1; readers accept them until version 0.3.
// KEY(old, new)  WORD(key, old, new): a choice of a key
#define FLYBALL_RENAMED_CONFIG(KEY, WORD) \
  KEY("kv", "cache_type")                 \
  KEY("profile", "objective")             \
  WORD("tune", "again", "refresh")

enum class ConfigType : u8 { text, choice, integer, real };
Str config_type_name(ConfigType type);

struct ConfigKey {
  Str key;
  ConfigType type = ConfigType::text;
  Str missing;    // the default, as it would be written (text without quotes)
  u64 least = 0;  // integer
  u64 most = 0;
  f64 least_real = 0;  // real
  f64 most_real = 0;
  Str choices;  // choice: words separated by a space
  Str meaning;
};

struct Renamed {
  Str key;  // of a renamed choice; empty: the key itself was renamed
  Str before, now;
};

struct ConfigValue {
  bool set = false;
  const Renamed* renamed = nullptr;  // a former name was used: the caller should warn
  u32 line = 0;                      // in its file; 0: none
  u64 integer = 0;
  f64 real = 0;
  Text<1024> text;
};

Span<const ConfigKey> config_keys();
// Index in config_keys(); an unknown key is an error that names its nearest neighbor.
// A former name finds the key, too, and sets `renamed` if that is not null.
Result<u32> find_config_key(Str key, const Renamed** renamed = nullptr);
Span<const Renamed> renamed_config();

// One value as on a command line: text needs no quotes. Checks the range.
Status read_config_word(const ConfigKey& key, Str word, ConfigValue* out);

// Settings of one model among several: lines `models.NAME.KEY = VALUE`, where NAME is in quotes if it has a dot.
struct ModelConfig {
  void* context = nullptr;
  // Called for each such line, after its value was checked. May refuse it.
  Status (*take)(void* context, Str model, const ConfigKey& key, const ConfigValue& value) = nullptr;
};

// A whole file into `values`, one per key, in config_keys()'s order. Unknown keys, duplicates, values of another type or
// out of range, tables and anything else that is no `key = value` line are errors with file and line.
Status read_config(Str file, Str text, Span<ConfigValue> values, const ModelConfig& models = {});

}  // namespace flyball::settings
