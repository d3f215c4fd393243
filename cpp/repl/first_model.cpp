// Which model is loaded where none is named.
#include "gguf/split.h"
#include "repl/context.h"

namespace flyball::repl {
namespace {

// Whether a file is a later part of a model whose first part lies beside it.
bool is_later_part(Span<const FileInfo> files, Str path) {
  const gguf::SplitName name = gguf::split_name(path);
  char buffer[1024];
  Writer first(buffer, sizeof buffer);
  if (name.index == 0 || !gguf::split_part_path(path, 0, name.count, first)) return false;
  for (const FileInfo& file : files) {
    if (file.path == first.text()) return true;
  }
  return false;
}

// One folder's line of the list of places.
void tell_found(Writer& told, Str directory, const Result<catalog::ModelFiles>& found) {
  told.put("  ").put_printable(directory).put(": ");
  if (!found.ok() && found.error().code == Code::not_found) {
    told.put("no such folder");
  } else if (!found.ok()) {
    found.error().describe(told);
  } else if (const catalog::ModelFiles& models = found.value(); models.files.empty()) {
    told.put("no *.gguf file");
  } else {
    told.put_u64(models.files.size)
        .put(models.files.size == 1 ? " file that cannot be loaded" : " files, none can be loaded");
  }
  if (found.ok() && found.value().n_hidden != 0)
    told.put(", ").put_u64(found.value().n_hidden).put(" with a hidden name (._...: not models, macOS makes them)");
  told.put('\n');
}

}  // namespace

// Folder by folder in the given order, by name within each. What cannot be loaded is told and passed over.
void choose_model(Context& repl) {
  char text[6000];
  Writer told(text, sizeof text);
  for (const Str directory : repl.options.model_directories) {
    Arena arena(repl.platform);
    const Result<catalog::ModelFiles> found = catalog::find_models(repl.platform, arena, directory);
    tell_found(told, directory, found);
    if (!found.ok()) continue;
    const Span<const FileInfo> files = found.value().files;
    for (const FileInfo& file : files) {
      if (file.path == repl.options.model || is_later_part(files, file.path)) continue;
      const Status status = open_model(repl, file.path);
      if (status.ok()) return void((repl.out << "read from ").printable(file.path) << '\n');
      const bool stopped = status.error().code == Code::interrupted;
      describe_problem(repl, file.path, status.error(), stopped ? no_model : Str("the next model that is there"));
      if (stopped) return;
    }
  }
  ++repl.n_errors;
  repl.out
      << "No model is loaded. Looked for *.gguf files in this order:\n"
      << told.text()
      << "hint:     copy a model into the first folder, or name one: /load FILE, or model = \"FILE\" in flyball.toml\n"
      << "fallback: " << no_model << '\n';
}

}  // namespace flyball::repl
