#include "gguf/file.h"

#include "gguf/names.h"
#include "gguf/part.h"
#include "gguf/split.h"

namespace flyball::gguf {
namespace {

template <class T>
T load(const Value& value) {
  T result;
  memcpy(&result, value.raw.data, sizeof(result));
  return result;
}

Error no_memory(Str where) { return fail(Code::out_of_memory, where) << "no memory for the model's tables"; }

Result<const Value*> split_key(const Part& part, Span<Entry> entries, Span<u32> index, Str key, ValueType type) {
  const auto found = probe(index, entries, key);
  if (found.item == no_item) return static_cast<const Value*>(nullptr);
  const Value& value = entries[found.item].value;
  if (value.type != type)
    return part.error(Code::corrupt, value.offset, "key", key)
           << "must be a " << value_type_name(type) << ", is of type " << value_type_name(value.type);
  return &value;
}

// What one part says about the whole.
struct Split {
  u32 number = 0;
  u32 count = 0;
  i64 n_tensors = -1;  // -1: missing
  u64 number_at = 0, count_at = 0, n_tensors_at = 0;
};

Result<Split> read_split(const Part& part, Span<Entry> entries, Span<u32> index) {
  Split split;
  const Value* value = nullptr;
  FLYBALL_ASSIGN(value, split_key(part, entries, index, "split.no", ValueType::u16));
  if (value) split.number = load<u16>(*value), split.number_at = value->offset;
  FLYBALL_ASSIGN(value, split_key(part, entries, index, "split.count", ValueType::u16));
  if (value) split.count = load<u16>(*value), split.count_at = value->offset;
  FLYBALL_ASSIGN(value, split_key(part, entries, index, "split.tensors.count", ValueType::i32));
  if (value) {
    split.n_tensors = load<i32>(*value), split.n_tensors_at = value->offset;
    if (split.n_tensors < 0)
      return part.error(Code::corrupt, value->offset, "key", "split.tensors.count") << "is negative";
  }
  return split;
}

// A count of 0 or 1 is a whole model: merging tools leave it there.
Status check_split(const Part& part, const Split& split, const Split& first, u32 number, u32 n_parts, u64 n_tensors) {
  const u32 count = max(split.count, u32(1));
  if (count == 1 && n_parts == 1) return {};
  if (n_parts == 1 && split.number != 0)
    return part.error(Code::not_found, split.number_at, "key", "split.no")
           << "this is part " << split.number + 1 << " of a model in " << count << " files: open part 1";
  if (n_parts == 1) {
    char names[64];
    Writer range(names, sizeof(names));
    range.put("*");
    put_split_suffix(range, 1, count);
    if (count > 2) put_split_suffix(range.put(" to *"), count - 1, count);
    return part.error(Code::not_found, split.count_at, "key", "split.count")
           << "this is part 1 of a model in " << count << " files; needed too, in the same folder: " << range.text();
  }
  if (count != n_parts)
    return part.error(Code::corrupt, split.count_at, "key", "split.count")
           << "says that the model has " << count << " files; open all of them, not " << n_parts;
  if (split.number != number)
    return part.error(Code::corrupt, split.number_at, "key", "split.no")
           << "says that this is part " << split.number + 1 << ", but it was opened as part " << number + 1;
  const bool differs = split.n_tensors >= 0 && split.n_tensors != first.n_tensors;
  if (differs || (number == 0 && u64(split.n_tensors) != n_tensors))
    return part.error(Code::corrupt, split.n_tensors_at, "key", "split.tensors.count")
           << "says " << split.n_tensors << "; " << (differs ? Str("part 1 says ") : Str("the files have "))
           << (differs ? u64(first.n_tensors) : n_tensors);
  return {};
}

}  // namespace

Result<File*> File::open(Arena& arena, Span<const Span<const u8>> parts) {
  if (parts.empty() || parts.size > most_parts)
    return fail(Code::invalid_argument, "parts") << "a model has 1 to " << most_parts << " files, got " << parts.size;
  const u32 n_parts = u32(parts.size);
  const Span<File> memory = arena.allocate<File>(1);
  const Span<Part> readers = arena.allocate<Part>(n_parts);
  if (memory.empty() || readers.empty()) return no_memory("header");
  File* file = memory.data;
  *file = File();

  u64 n_tensors = 0;  // each part's count fits its size, so the sum cannot wrap
  for (u32 i = 0; i < n_parts; ++i) {
    readers[i] = Part(parts[i], i, n_parts);
    FLYBALL_TRY(readers[i].read_header());
    n_tensors += readers[i].n_tensors();
  }
  file->version_ = readers[0].version();
  if (n_tensors > most_tensors)
    return fail(Code::unsupported, "n_tensors", 8)
           << "the parts have " << n_tensors << "; the limit is " << most_tensors;

  if (n_tensors) {
    file->tensors_ = arena.allocate<Tensor>(n_tensors);
    file->tensor_index_ = arena.allocate<u32>(index_size(n_tensors));
    if (file->tensors_.empty() || file->tensor_index_.empty()) return no_memory("n_tensors");
  }
  const Span<u32> order = arena.allocate<u32>(n_tensors);
  if (n_tensors && order.empty()) return no_memory("n_tensors");

  Split first;
  u64 n_read = 0;
  for (u32 i = 0; i < n_parts; ++i) {
    Part& part = readers[i];
    const Span<Entry> entries = arena.allocate<Entry>(part.n_keys());
    const Span<u32> index = arena.allocate<u32>(index_size(part.n_keys()));
    if (entries.size != part.n_keys() || index.empty()) return no_memory("n_kv");
    FLYBALL_TRY(part.read_keys(entries, index));
    Split split;
    FLYBALL_ASSIGN(split, read_split(part, entries, index));
    if (i == 0) {
      first = split, file->entries_ = entries, file->entry_index_ = index;
      file->entries_read_ = arena.allocate<u8>(entries.size);
      if (file->entries_read_.size != entries.size) return no_memory("n_kv");
    }
    FLYBALL_TRY(check_split(part, split, first, i, n_parts, n_tensors));

    FLYBALL_TRY(part.read_tensors(file->tensors_, n_read, file->tensor_index_));
    FLYBALL_TRY(
        part.place_tensors(file->tensors_.subspan(n_read, part.n_tensors()), order.subspan(0, part.n_tensors())));
    n_read += part.n_tensors();
  }
  constexpr Str layout[] = {"general.alignment", "split.no", "split.count", "split.tensors.count"};
  for (Str key : layout) (void)file->find(key);
  return file;
}

bool is_whole(const Platform& platform, Span<const u8> bytes) {
  Arena scratch(platform);
  return File::open(scratch, {&bytes, 1}).ok();
}

const Value* File::find(Str key) const {
  const auto found = probe(entry_index_, entries_, key);
  if (found.item == no_item) return nullptr;
  __atomic_store_n(&entries_read_[found.item], 1, __ATOMIC_RELAXED);
  return &entries_[found.item].value;
}

bool File::was_read(const Entry& entry) const {
  return __atomic_load_n(&entries_read_[u64(&entry - entries_.data)], __ATOMIC_RELAXED);
}

const Tensor* File::tensor(Str name) const {
  const auto found = probe(tensor_index_, tensors_, name);
  return found.item == no_item ? nullptr : &tensors_[found.item];
}

bool StringArray::next(Str* out) {
  if (left_ == 0 || rest_.size < 8) return false;
  u64 length = 0;
  memcpy(&length, rest_.data, 8);
  if (length > rest_.size - 8) return false;  // only for a Value that is no array of strings
  *out = {reinterpret_cast<const char*>(rest_.data) + 8, length};
  rest_ = rest_.subspan(8 + length, rest_.size - 8 - length);
  --left_;
  return true;
}

}  // namespace flyball::gguf
