// The configuration's schema and parser for Python.
#include "settings/config.h"

#include "bind/bind.h"

namespace flyball::bind {
namespace {

using settings::ConfigKey;
using settings::ConfigType;
using settings::ConfigValue;

py::object value_of(const ConfigKey& key, const ConfigValue& value) {
  switch (key.type) {
    case ConfigType::integer: return py::int_(value.integer);
    case ConfigType::real: return py::float_(value.real);
    case ConfigType::text:
    case ConfigType::choice: break;
  }
  return text(value.text.str());
}

py::object limit(const ConfigKey& key, u64 integer, f64 real) {
  if (key.type == ConfigType::integer) return py::int_(integer);
  if (key.type == ConfigType::real) return py::float_(real);
  return py::none();
}

// (key, type, default, least, most, choices, meaning)
py::list schema() {
  py::list list;
  for (const ConfigKey& key : settings::config_keys()) {
    ConfigValue missing;
    check(settings::read_config_word(key, key.missing, &missing));
    list.append(py::make_tuple(text(key.key), text(settings::config_type_name(key.type)), value_of(key, missing),
                               limit(key, key.least, key.least_real), limit(key, key.most, key.most_real),
                               text(key.choices), text(key.meaning)));
  }
  return list;
}

// (former name, current name), or None.
py::object pair(const settings::Renamed* renamed) {
  return renamed ? py::object(py::make_tuple(text(renamed->before), text(renamed->now))) : py::none();
}

// (key, value, pair of a renamed choice)
py::tuple word(const std::string& name, const std::string& written) {
  const ConfigKey& key = settings::config_keys()[unwrap(settings::find_config_key(str(name)))];
  ConfigValue value;
  check(settings::read_config_word(key, str(written), &value));
  return py::make_tuple(text(key.key), value_of(key, value), pair(value.renamed));
}

// (former key, key)
py::list renamed_keys() {
  py::list list;
  for (const settings::Renamed& name : settings::renamed_config())
    if (name.key.empty()) list.append(pair(&name));
  return list;
}

// key -> (value, line, pair of a renamed key or choice) for the keys that the text sets.
py::dict parse_config(const std::string& file, const std::string& content) {
  const Span<const ConfigKey> keys = settings::config_keys();
  std::vector<ConfigValue> values(keys.size);
  check(settings::read_config(str(file), str(content), {values.data(), values.size()}));
  py::dict dict;
  for (u64 i = 0; i < keys.size; ++i)
    if (values[i].set)
      dict[text(keys[i].key)] = py::make_tuple(value_of(keys[i], values[i]), values[i].line, pair(values[i].renamed));
  return dict;
}

// [(model, key, value, line)] of the lines models.NAME.KEY = VALUE.
py::list parse_models(const std::string& file, const std::string& content) {
  std::vector<ConfigValue> values(settings::config_keys().size);
  py::list list;
  const auto take = [](void* context, Str model, const ConfigKey& key, const ConfigValue& value) -> Status {
    static_cast<py::list*>(context)->append(
        py::make_tuple(text(model), text(key.key), value_of(key, value), value.line));
    return {};
  };
  check(settings::read_config(str(file), str(content), {values.data(), values.size()}, {&list, take}));
  return list;
}

}  // namespace

void bind_config(py::module_& module) {
  using namespace py::literals;
  module.def("config_schema", &schema);
  module.def("config_word", &word, "key"_a, "word"_a);
  module.def("config_renamed_keys", &renamed_keys);
  module.def("config_parse_models", &parse_models, "file"_a, "content"_a);
  module.def("config_parse", &parse_config, "file"_a, "content"_a);
}

}  // namespace flyball::bind
