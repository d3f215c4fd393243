// Data of one event: a JSON object on one line.
#pragma once

#include "base/json.h"

namespace flyball::journal {

template <u64 N = 4096>
class EventData {
 public:
  EventData() { json.begin_object(); }
  // Data that does not fit is our own bug, and makes an event without data.
  Str done() {
    json.end_object();
    return out_.truncated() ? Str("{}") : out_.text();
  }

 private:
  char buffer_[N];
  Writer out_{buffer_, sizeof buffer_};

 public:
  JsonWriter json{out_};
};

}  // namespace flyball::journal
