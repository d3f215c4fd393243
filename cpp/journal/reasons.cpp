#include "journal/reasons.h"

namespace flyball::journal {
namespace {

#define FLYBALL_REASON(family, name, event, meaning) {#family "_" #name, #family, event, meaning},
constexpr ReasonInfo registry[] = {FLYBALL_REASONS(FLYBALL_REASON)};
#undef FLYBALL_REASON

}  // namespace

Span<const ReasonInfo> reasons() { return registry; }

bool find_reason(Str id, Reason* out) {
  for (u64 i = 0; i < reasons().size; ++i) {
    if (registry[i].id == id) {
      *out = Reason(i);
      return true;
    }
  }
  return false;
}

}  // namespace flyball::journal
