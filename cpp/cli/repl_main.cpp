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

namespace {

using flyball::Str;
namespace fs = std::filesystem;

constexpr char usage[] =
    "usage: flyball-repl [MODEL] [options]\n"
    "  MODEL           a GGUF file; without one the bundled demonstration model\n"
    "  --isa NAME      instruction set (default: auto, the best that this processor runs)\n"
    "  --threads N     threads that compute (default: one per processor)\n"
    "  --ctx N         context in tokens (default: the model's, at most 8192)\n"
    "  --kv TYPE       type of cached keys and values: f16, f32, q8_0 (default: f16)\n"
    "  --models DIR    where /models looks (default: beside the model)\n"
    "  --script FILE   read REPL lines from a file, then end: 0 if all went well, 1 if something did not\n"
    "  -h, --help      this text\n";

struct Arguments {
  std::string model, isa = "auto", models, script;
  flyball::u64 threads = 0, context = 0;
  flyball::engine::CacheType cache = flyball::engine::CacheType::f16;
};

Str str(const std::string& text) { return {text.data(), text.size()}; }

[[noreturn]] void wrong_use(const std::string& message) {
  fprintf(stderr, "flyball-repl: %s\n%s", message.c_str(), usage);
  exit(2);
}

flyball::u64 number(const std::string& option, const std::string& value, flyball::u64 high) {
  flyball::u64 out = 0;
  if (!flyball::parse_u64(str(value), &out) || out > high) {
    wrong_use(option + " is '" + value + "', must be an integer from 0 to " + std::to_string(high));
  }
  return out;
}

Arguments parse(int argc, char** argv) {
  Arguments out;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
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
      out.threads = number(argument, value(), 1024);
    } else if (argument == "--ctx") {
      out.context = number(argument, value(), 1 << 22);
    } else if (argument == "--kv") {
      const std::string name = value();
      const auto type = flyball::engine::parse_cache_type(str(name));
      if (!type.ok()) wrong_use("--kv is '" + name + "', must be f16, f32 or q8_0");
      out.cache = type.value();
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

std::string catalog_cache() {
  const char* const cache = getenv("XDG_CACHE_HOME");
  const char* const home = getenv("HOME");
  if ((cache == nullptr || *cache == '\0') && home == nullptr) return {};
  const fs::path directory =
      (cache != nullptr && *cache != '\0' ? fs::path(cache) : fs::path(home) / ".cache") / "flyball";
  std::error_code failed;
  fs::create_directories(directory, failed);
  return failed ? std::string() : (directory / "models.json").string();
}

std::atomic<int> n_interrupts = 0;  // since the last line was read

void interrupt(int) {
  if (++n_interrupts == 3) _exit(130);  // whatever runs does not stop: the person insists
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
  const std::string cache = catalog_cache();
  flyball::repl::Options options;
  options.model = str(arguments.model);
  options.fallback_model = str(bundled);
  options.isa = str(arguments.isa);
  options.threads = static_cast<flyball::u32>(arguments.threads);
  options.context = static_cast<flyball::u32>(arguments.context);
  options.cache = arguments.cache;
  options.models_directory = str(arguments.models);
  options.catalog_cache = str(cache);
  options.terminal = isatty(STDOUT_FILENO) != 0;

  catch_interrupts();
  flyball::repl::Repl repl(flyball::host::host_platform(), options);
  repl.start();
  if (script.is_open()) return run_script(repl, script);
  run_terminal(repl, isatty(STDIN_FILENO) != 0);
  return 0;
}
