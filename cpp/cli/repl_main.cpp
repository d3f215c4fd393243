// flyball-repl: the REPL as a program for an operating system. Arguments, lines and signals only.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "host/host.h"
#include "repl/repl.h"
#include "settings/config.h"

namespace {

using flyball::Str;
namespace catalog = flyball::catalog;
namespace engine = flyball::engine;
namespace settings = flyball::settings;
namespace fs = std::filesystem;

constexpr char usage[] =
    "usage: flyball-repl [MODEL] [options]\n"
    "  MODEL                 a GGUF file; without one the bundled demonstration model\n"
    "  --isa NAME            instruction set (default: auto, the best that this processor runs)\n"
    "  --threads N           threads that compute (default: one per processor)\n"
    "  --decode-threads N    threads for steps without a prompt (default: as many as --threads)\n"
    "  --ctx N               context in tokens (default: the model's, at most 8192)\n"
    "  --cache-type TYPE     type of cached keys and values: f16, f32, q8_0 (default: f16)\n"
    "  --tune HOW            choose threads by short probes and cache them: auto, off, refresh (default: auto)\n"
    "  --objective NAME      of --tune: latency, throughput, quiet (default: latency)\n"
    "  --prefix-cache-mb N   MiB kept of prompts that begin alike, 0 for none (default: 64)\n"
    "  --packed-copy HOW     packed weights in the cache folder: auto, on, off (default: auto)\n"
    "  --speculate HOW       verify draft tokens, several at once: auto, off, always (default: auto)\n"
    "  --draft FILE          a smaller model with the same vocabulary that drafts (default: prompt lookup)\n"
    "  --adapter FILE[:SCALE]  a LoRA adapter of the model\n"
    "  --journal FILE        append events and decisions with their reasons; see flyball journal\n"
    "  --log FILE            the same as lines of text\n"
    "  --set KEY=VALUE       a setting of the governor (autotune.*, guard.*, policy.*); may be repeated\n"
    "  --policy-file FILE    file for the policy's changes\n"
    "  --models DIR          where /models looks (default: beside the model)\n"
    "  --script FILE         read REPL lines from a file, then exit: 0 if all succeeded, else 1\n"
    "  -h, --help            this text\n";

struct Arguments {
  std::string model, isa = "auto", draft, adapter, models, script, journal, log, policy_file;
  flyball::repl::Options options;  // all but the texts above
};

Str str(const std::string& text) { return {text.data(), text.size()}; }

[[noreturn]] void wrong_use(const std::string& message) {
  fprintf(stderr, "flyball-repl: %s\n%s", message.c_str(), usage);
  exit(2);
}

// An option takes what the configuration's key takes.
void warn_renamed(const std::string& before, Str now) {
  fprintf(stderr, "flyball-repl: warning: %s is now %.*s; the old name goes with version 0.3\n", before.c_str(),
          static_cast<int>(now.size), now.data);
}

// Flags of version 0.1 in today's words.
std::string current_flag(const std::string& flag) {
  for (const auto& [before, now] : {std::pair{"--kv", "--cache-type"}, std::pair{"--profile", "--objective"}}) {
    if (flag != before) continue;
    warn_renamed(before, now);
    return now;
  }
  return flag;
}

settings::ConfigValue setting(const std::string& option, Str key, const std::string& word) {
  settings::ConfigValue value;
  const flyball::u32 index = settings::find_config_key(key).value();
  const flyball::Status status = settings::read_config_word(settings::config_keys()[index], str(word), &value);
  const Str what = status.error().what.str();
  if (!status.ok()) wrong_use(option + " " + std::string(what.data, what.size));
  if (value.renamed)
    warn_renamed(std::string(value.renamed->before.data, value.renamed->before.size), value.renamed->now);
  return value;
}

Arguments parse(int argc, char** argv) {
  Arguments out;
  flyball::repl::Options& options = out.options;
  options.tune = true;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = current_flag(argv[i]);
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) wrong_use(argument + " needs a value");
      return argv[++i];
    };
    if (argument == "-h" || argument == "--help") {
      fputs(usage, stdout);
      exit(0);
    } else if (argument == "--isa") {
      out.isa = value();
    } else if (argument == "--threads") {
      options.threads = static_cast<flyball::u32>(setting(argument, "threads", value()).integer);
    } else if (argument == "--decode-threads") {
      options.decode_threads = static_cast<flyball::u32>(setting(argument, "decode_threads", value()).integer);
    } else if (argument == "--ctx") {
      options.context = static_cast<flyball::u32>(setting(argument, "context", value()).integer);
    } else if (argument == "--cache-type") {
      options.cache = engine::parse_cache_type(setting(argument, "cache_type", value()).text.str()).value();
    } else if (argument == "--tune") {
      const settings::ConfigValue how = setting(argument, "tune", value());
      options.tune = how.text.str() != "off";
      options.tune_refresh = how.text.str() == "refresh";
    } else if (argument == "--objective") {
      options.objective = catalog::parse_objective(setting(argument, "objective", value()).text.str()).value();
    } else if (argument == "--prefix-cache-mb") {
      options.prefix_cache_bytes = setting(argument, "prefix_cache_mb", value()).integer << 20;
    } else if (argument == "--packed-copy") {
      options.packed.use = engine::parse_packed_use(setting(argument, "packed_copy", value()).text.str()).value();
    } else if (argument == "--speculate") {
      options.speculation = engine::parse_speculation(setting(argument, "speculate", value()).text.str()).value();
    } else if (argument == "--draft") {
      out.draft = value();
    } else if (argument == "--adapter") {
      out.adapter = value();
    } else if (argument == "--journal") {
      out.journal = value();
    } else if (argument == "--log") {
      out.log = value();
    } else if (argument == "--policy-file") {
      out.policy_file = value();
    } else if (argument == "--set") {
      const std::string assignment = value();
      const size_t equals = std::min(assignment.find('='), assignment.size());
      const std::string key = assignment.substr(0, equals),
                        word = assignment.substr(std::min(equals + 1, assignment.size()));
      const flyball::Status status = flyball::governor::set(&options.governor, str(key), str(word));
      const Str where = status.error().where.str(), what = status.error().what.str();
      if (!status.ok()) wrong_use(std::string(where.data, where.size) + " " + std::string(what.data, what.size));
    } else if (argument == "--models") {
      out.models = value();
    } else if (argument == "--script") {
      out.script = value();
    } else if (argument.starts_with("-") || !out.model.empty()) {
      wrong_use("unknown argument '" + argument + "'");
    } else {
      out.model = argument;
    }
  }
  return out;
}

// The package's model: in the source tree above a build directory, or in the Python environment around this program.
std::string bundled_model() {
  std::error_code none;
  fs::path directory = fs::read_symlink("/proc/self/exe", none).parent_path();
  for (int level = 0; level < 5 && !directory.empty(); ++level, directory = directory.parent_path()) {
    const fs::path source = directory / "python/flyball/data/flyball-demo.gguf";
    if (fs::exists(source, none)) return source;
    for (const auto& entry : fs::directory_iterator(directory / "lib", none)) {
      const fs::path installed = entry.path() / "site-packages/flyball/data/flyball-demo.gguf";
      if (entry.path().filename().string().starts_with("python") && fs::exists(installed, none)) return installed;
    }
  }
  return {};
}

// A file in flyball's cache directory, or a folder of it; empty where there is none.
std::string cache_file(const char* name) {
  const char* const cache = getenv("XDG_CACHE_HOME");
  const char* const home = getenv("HOME");
  if ((cache == nullptr || *cache == '\0') && home == nullptr) return {};
  const fs::path path =
      (cache != nullptr && *cache != '\0' ? fs::path(cache) : fs::path(home) / ".cache") / "flyball" / name;
  std::error_code failed;
  fs::create_directories(path.parent_path(), failed);
  return failed ? std::string() : path.string();
}

std::atomic<int> n_interrupts = 0;  // since the last line was read

void interrupt(int) {
  if (++n_interrupts == 3) _exit(130);  // what runs does not stop: the user insists
  flyball::host::request_stop();
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = interrupt;  // without SA_RESTART: Ctrl-C ends a read, so that a new prompt can be shown
  sigaction(SIGINT, &action, nullptr);
}

class Terminal {
 public:
  enum class Read { line, end, interrupted };

  Read next(std::string* line) {
    for (;;) {
      const size_t end = pending_.find('\n');
      if (end != std::string::npos) {
        *line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return Read::line;
      }
      char buffer[4096];
      const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) {
        pending_.clear();
        return Read::interrupted;
      }
      if (n <= 0) {
        *line = std::move(pending_);
        pending_.clear();
        return line->empty() ? Read::end : Read::line;
      }
      pending_.append(buffer, static_cast<size_t>(n));
    }
  }

 private:
  std::string pending_;
};

void write(std::string_view text) {
  const flyball::Platform& platform = flyball::host::host_platform();
  platform.write(platform.self, {text.data(), text.size()});
}

int run_script(flyball::repl::Repl& repl, std::ifstream& script) {
  std::string line;
  bool running = true;
  while (running && std::getline(script, line)) {
    n_interrupts = 0;
    const Str prompt = repl.prompt();
    write(std::string(prompt.data, prompt.size) + line + "\n");
    running = repl.feed(str(line));
  }
  return repl.n_errors() == 0 ? 0 : 1;
}

void run_terminal(flyball::repl::Repl& repl, bool prompts) {
  Terminal terminal;
  std::string line;
  for (bool running = true; running;) {
    n_interrupts = 0;
    if (prompts) write({repl.prompt().data, repl.prompt().size});
    const Terminal::Read read = terminal.next(&line);
    if (read == Terminal::Read::end) break;
    if (read == Terminal::Read::interrupted) {
      const flyball::Platform& platform = flyball::host::host_platform();
      (void)platform.stop_requested(platform.self);
      if (prompts) write("\n(/quit or Ctrl-D ends)\n");
      continue;
    }
    running = repl.feed(str(line));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  std::ifstream script;
  if (!arguments.script.empty()) {
    script.open(arguments.script);
    if (!script) wrong_use("cannot read the script '" + arguments.script + "'");
  }
  const std::string bundled = bundled_model();
  const std::string cache = cache_file("models.json"), tuned = cache_file("tuned.txt"),
                    fingerprints = cache_file("fingerprints.txt"), packed = cache_file("packed/");
  flyball::repl::Options options = arguments.options;
  options.model = str(arguments.model);
  options.fallback_model = str(bundled);
  options.isa = str(arguments.isa);
  options.draft = str(arguments.draft);
  options.adapter = str(arguments.adapter);
  options.journal = str(arguments.journal);
  options.log = str(arguments.log);
  options.policy_file = str(arguments.policy_file);
  const Str models = str(arguments.models);
  if (!models.empty()) options.model_directories = {&models, 1};
  options.catalog_cache = str(cache);
  options.tuning_cache = str(tuned);
  options.fingerprint_cache = str(fingerprints);
  options.packed.folder = str(packed);
  options.terminal = isatty(STDOUT_FILENO) != 0;

  catch_interrupts();
  flyball::repl::Repl repl(flyball::host::host_platform(), options);
  repl.start();
  if (script.is_open()) return run_script(repl, script);
  run_terminal(repl, isatty(STDIN_FILENO) != 0);
  return 0;
}
