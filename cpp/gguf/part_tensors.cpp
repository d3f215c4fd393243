// The tensor half of a part: descriptions, then where their data lies.
#include "gguf/names.h"
#include "gguf/part.h"

namespace flyball::gguf {
namespace {

// Heapsort: in place, no recursion, no quadratic case for a hostile order of offsets.
void sort_by_offset(Span<Tensor> tensors, Span<u32> order) {
  const auto before = [&](u32 a, u32 b) { return tensors[a].offset < tensors[b].offset; };
  const auto sift = [&](u64 root, u64 end) {
    for (u64 child; (child = 2 * root + 1) < end; root = child) {
      if (child + 1 < end && before(order[child], order[child + 1])) ++child;
      if (!before(order[root], order[child])) return;
      const u32 moved = order[root];
      order[root] = order[child];
      order[child] = moved;
    }
  };
  for (u64 i = order.size / 2; i-- > 0;) sift(i, order.size);
  for (u64 end = order.size; end-- > 1;) {
    const u32 largest = order[0];
    order[0] = order[end];
    order[end] = largest;
    sift(0, end);
  }
}

}  // namespace

// The name is a view into the file: its address gives the offset of the tensor's description.
u64 Part::offset_field(const Tensor& tensor) const {
  const u64 name_at = u64(reinterpret_cast<const u8*>(tensor.name.data) - bytes_.data);
  return name_at + tensor.name.size + 4 + 8 * u64(tensor.n_dims) + 4;
}

Status Part::read_tensors(Span<Tensor> all, u64 first, Span<u32> index) {
  for (u64 i = first; i < first + n_tensors_; ++i) {
    Tensor& tensor = all[i];
    tensor = Tensor();
    const u64 start = at_;
    FLYBALL_TRY(read_string("tensor name", {}, longest_tensor_name, &tensor.name));
    if (tensor.name.empty())
      return error(Code::corrupt, start, "tensor name") << "tensor number " << i - first << " has no name";
    const auto found = probe(index, all, tensor.name);
    if (found.item != no_item) return error(Code::corrupt, start, "tensor", tensor.name) << "appears twice";
    if (!found.slot) return crowded(start, "tensor", tensor.name);

    u32 n_dims = 0;
    if (!take_u32(&n_dims)) return ends("dimensions of tensor", 4, tensor.name);
    FLYBALL_TRY(read_shape(&tensor, n_dims));
    *found.slot = u32(i + 1);
  }
  return {};
}

Status Part::read_shape(Tensor* tensor, u32 n_dims) {
  const u64 dims_at = at_;
  if (n_dims < 1 || n_dims > 4)
    return error(Code::corrupt, dims_at - 4, "dimensions of tensor", tensor->name)
           << "has " << n_dims << " of them; must be 1 to 4";
  tensor->n_dims = n_dims;
  u64 values = 1;
  for (u32 d = 0; d < n_dims; ++d) {
    if (!take_u64(&tensor->shape[d])) return ends("shape of tensor", 8, tensor->name);
    if (tensor->shape[d] == 0)
      return error(Code::corrupt, at_ - 8, "shape of tensor", tensor->name) << "dimension " << d << " is 0";
    if (!checked_mul(values, tensor->shape[d], &values))
      return error(Code::corrupt, at_ - 8, "shape of tensor", tensor->name)
             << "dimension " << d << " is " << tensor->shape[d] << ": the number of values does not fit in 64 bits";
  }

  const u64 type_at = at_;
  u32 type = 0;
  if (!take_u32(&type)) return ends("type of tensor", 4, tensor->name);
  const TypeInfo* info = type_info(type);
  if (!info) {
    ErrorBuilder refusal = error(Code::unsupported, type_at, "type of tensor", tensor->name);
    refusal << "type " << type << " (" << type_name(type) << ") is not supported; supported are";
    for (const TypeInfo& known : supported_types()) refusal << " " << known.name;
    return refusal;
  }
  tensor->type = info->type;
  if (tensor->cols() % info->block_values != 0)
    return error(Code::corrupt, dims_at, "shape of tensor", tensor->name)
           << "a row has " << tensor->cols() << " values; " << info->name << " stores blocks of " << info->block_values;
  u64 size = 0;
  if (!checked_mul(values / info->block_values, info->block_bytes, &size))
    return error(Code::corrupt, dims_at, "shape of tensor", tensor->name) << "its size does not fit in 64 bits";

  // Until place_tensors knows where the data begins: the offset is relative, the span has a length only.
  if (!take_u64(&tensor->offset)) return ends("offset of tensor", 8, tensor->name);
  if (tensor->offset % alignment_ != 0)
    return error(Code::corrupt, at_ - 8, "offset of tensor", tensor->name)
           << "is " << tensor->offset << ", not a multiple of the alignment " << alignment_;
  tensor->data = {nullptr, size};
  tensor->alignment = alignment_;
  return {};
}

Status Part::place_tensors(Span<Tensor> tensors, Span<u32> order) {
  // The end of the descriptions lies inside the file and an alignment is small: this cannot wrap.
  const u64 data_at = round_up(at_, alignment_);
  for (Tensor& tensor : tensors) {
    const u64 room = bytes_.size - min(data_at, bytes_.size);
    if (tensor.offset > room || tensor.data.size > room - tensor.offset)
      return error(Code::corrupt, offset_field(tensor), "data of tensor", tensor.name)
             << "takes " << tensor.data.size << " bytes at " << tensor.offset << " of a data section of " << room
             << " bytes: the file is cut off or damaged; copy or download it again";
    tensor.offset += data_at;
    tensor.data.data = bytes_.data + tensor.offset;
  }
  return check_overlaps(tensors, order);
}

Status Part::check_overlaps(Span<Tensor> tensors, Span<u32> order) {
  bool sorted = true;
  for (u64 i = 0; i < tensors.size; ++i) {
    order[i] = u32(i);
    sorted = sorted && (i == 0 || tensors[i - 1].offset < tensors[i].offset);
  }
  if (!sorted) sort_by_offset(tensors, order);
  for (u64 i = 1; i < tensors.size; ++i) {
    const Tensor& before = tensors[order[i - 1]];
    const Tensor& after = tensors[order[i]];
    if (after.offset - before.offset < before.data.size) {
      char name[96];
      return error(Code::corrupt, offset_field(after), "data of tensor", after.name)
             << "overlaps the data of tensor '" << Writer(name, sizeof(name)).put_printable(before.name).text() << "'";
    }
  }
  return {};
}

}  // namespace flyball::gguf
