#include "journal/reasons.h"

namespace flyball::journal {
namespace {

#define FLYBALL_REASON(family, name, event, meaning) {#family "_" #name, #family, event, meaning},
constexpr ReasonInfo registry[] = {FLYBALL_REASONS(FLYBALL_REASON)};
#undef FLYBALL_REASON

struct Renamed {
  Str before;
  Reason now;
};
#define FLYBALL_RENAMED(before, now) {#before, Reason::now},
constexpr Renamed renamed[] = {FLYBALL_RENAMED_REASONS(FLYBALL_RENAMED)};
#undef FLYBALL_RENAMED

}  // namespace

Span<const ReasonInfo> reasons() { return registry; }

bool find_reason(Str id, Reason* out) {
  for (u64 i = 0; i < reasons().size; ++i) {
    if (registry[i].id == id) {
      *out = Reason(i);
      return true;
    }
  }
  for (const Renamed& reason : renamed) {
    if (reason.before == id) {
      *out = reason.now;
      return true;
    }
  }
  return false;
}

}  // namespace flyball::journal
