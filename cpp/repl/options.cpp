#include "repl/options.h"

#include "settings/config.h"

namespace flyball::repl {
namespace {

class Values {
 public:
  explicit Values(Span<const settings::ConfigValue> values) : values_(values) {}
  const settings::ConfigValue& operator[](Str key) const { return values_[settings::find_config_key(key).value()]; }

  template <class T>
  void integer(Str key, T* out) const {
    if ((*this)[key].set) *out = T((*this)[key].integer);
  }
  void real(Str key, f32* out) const {
    if ((*this)[key].set) *out = f32((*this)[key].real);
  }
  void text(Arena& arena, Str key, Str* out) const {
    if ((*this)[key].set) *out = arena.copy((*this)[key].text.str());
  }
  template <class Function>
  void each_renamed(Function&& function) const {
    for (const settings::ConfigValue& value : values_) {
      if (value.renamed) function(value.line, *value.renamed);
    }
  }

 private:
  Span<const settings::ConfigValue> values_;
};

Status take(const Values& values, Arena& arena, Options* options) {
  Options o = *options;
  values.text(arena, "model", &o.model);
  values.text(arena, "isa", &o.isa);
  values.integer("threads", &o.threads);
  values.integer("decode_threads", &o.decode_threads);
  values.integer("context", &o.context);
  values.text(arena, "draft", &o.draft);
  values.text(arena, "adapter", &o.adapter);
  values.text(arena, "policy_file", &o.policy_file);
  values.text(arena, "journal", &o.journal);
  if (values["journal_max_kb"].set) o.journal_max_bytes = values["journal_max_kb"].integer << 10;
  values.integer("journal_files", &o.journal_files);
  values.text(arena, "log", &o.log);
  values.integer("max_tokens", &o.max_tokens);
  if (values["prefix_cache_mb"].set) o.prefix_cache_bytes = values["prefix_cache_mb"].integer << 20;
  if (values["packed_copy"].set)
    FLYBALL_ASSIGN(o.packed.use, engine::parse_packed_use(values["packed_copy"].text.str()));
  if (values["packed_copies_gb"].set) o.packed.most_bytes = values["packed_copies_gb"].integer << 30;
  if (values["cache_type"].set) FLYBALL_ASSIGN(o.cache, engine::parse_cache_type(values["cache_type"].text.str()));
  if (values["speculate"].set) FLYBALL_ASSIGN(o.speculation, engine::parse_speculation(values["speculate"].text.str()));
  if (values["objective"].set) FLYBALL_ASSIGN(o.objective, catalog::parse_objective(values["objective"].text.str()));
  if (const settings::ConfigValue& tune = values["tune"]; tune.set) {
    o.tune = tune.text.str() != "off";
    o.tune_refresh = tune.text.str() == "refresh";
  }
  values.real("sampling.temperature", &o.sampler.temperature);
  values.integer("sampling.top_k", &o.sampler.top_k);
  values.real("sampling.top_p", &o.sampler.top_p);
  values.real("sampling.min_p", &o.sampler.min_p);
  values.real("sampling.repeat_penalty", &o.sampler.repeat_penalty);
  values.integer("sampling.repeat_window", &o.sampler.repeat_window);
  values.real("sampling.presence_penalty", &o.sampler.presence_penalty);
  values.real("sampling.frequency_penalty", &o.sampler.frequency_penalty);
  values.integer("sampling.no_repeat_ngram", &o.sampler.no_repeat_ngram);
  values.integer("sampling.seed", &o.sampler.seed);
  for (const governor::SettingInfo& setting : governor::setting_infos()) {
    const settings::ConfigValue& value = values[setting.key];
    if (value.set) FLYBALL_TRY(governor::set(&o.governor, setting.key, value.text.str()));
  }
  FLYBALL_TRY(governor::check(o.governor));
  Writer warnings(o.warnings.data, sizeof o.warnings.data);
  values.each_renamed([&](u32 line, const settings::Renamed& name) {
    warnings.put("warning: flyball.toml:").put_u64(line).put(": ").put(name.before).put(" is now ").put(name.now);
    warnings.put("; the old name goes with version 0.3\n");
  });
  o.warnings.size = u32(warnings.text().size);
  *options = o;
  return {};
}

}  // namespace

Status read_options(const Platform& platform, Arena& arena, Str path, Options* options) {
  if (!platform.stat(platform.self, path).ok()) return {};
  Span<const u8> file;
  FLYBALL_ASSIGN(file, platform.map(platform.self, path));
  const Span<settings::ConfigValue> values = arena.allocate<settings::ConfigValue>(settings::config_keys().size);
  Status status = values.empty() ? Status(fail(Code::out_of_memory, path) << "no memory to read it") : Status();
  if (status.ok()) status = settings::read_config(path, {reinterpret_cast<const char*>(file.data), file.size}, values);
  platform.unmap(platform.self, file);
  return status.ok() ? take(Values(values), arena, options) : status;
}

}  // namespace flyball::repl
