// What a transformer call costs the governor, and the journal: nanoseconds of processor time.
// bench_governor
#include <cstdio>
#include <vector>

#include "governor/governor.h"
#include "host/host.h"
#include "journal/journal.h"

using namespace flyball;
using namespace flyball::governor;

int main() {
  constexpr u32 n_calls = 1'000'000, n_lines = 400;
  const Platform& platform = host::host_platform();
  const auto now = [&] { return now_ns(platform); };
  constexpr Call step{Call::plain, 1, 1, 900'000, 1'000, 123'456, 2, 0};

  Settings settings;
  settings.guard_mode = settings.autotune_mode = Settings::on;
  settings.turn_ms = settings.token_ms = settings.first_token_ms = 86'400'000;
  State state = begin(settings, {1'000'000, 1'000}, 2);
  (void)begin_turn(settings, state, {{128, 40, 0.95f, 0.8f}, 100, {}}, {});
  u64 n_stops = 0;
  u64 start = now();
  for (u32 i = 0; i < n_calls; ++i) {
    Call call = step;
    call.elapsed_us = now() / 1000 % 1000;
    n_stops += observe(settings, state, call, {}).stop;
  }
  const u64 observed = now() - start;

  journal::Journal kept(platform);
  const journal::EventSink sink = kept.sink();
  const std::vector<Call> calls(max_calls_per_line, step);
  std::vector<char> buffer(32768);
  u64 bytes = 0;
  start = now();
  for (u32 i = 0; i < n_lines; ++i) {
    Writer out(buffer.data(), buffer.size());
    JsonWriter json(out);
    write(json, Span<const Call>(calls.data(), calls.size()));
    sink(1, 1, Reason::SESSION_CALLS, out.text());
    (void)kept.take([&](Str lines) { return bytes += lines.size, true; });
  }
  const f64 journaled = f64(now() - start) / n_lines / max_calls_per_line;
  std::printf("governor %.1f ns a call, journal %.1f ns and %.1f bytes\n", f64(observed) / n_calls, journaled,
              f64(bytes) / n_lines / max_calls_per_line);
  return n_stops == 0 ? 0 : 1;
}
