#include "base/platform.h"

namespace flyball {

bool tiles_permitted = false;

}  // namespace flyball
