// A table whose matrix products are its own, and all else another table's.

namespace flyball::kernels {
namespace {

template <const Table& base, auto entry>
struct Forwarded;
template <const Table& base, class Result, class... Arguments, Result (*Table::*entry)(Arguments...)>
struct Forwarded<base, entry> {
  static Result call(Arguments... arguments) { return (base.*entry)(arguments...); }
};

template <const Table& base>
constexpr Table table_over(const char* name, u64 features, u64 in_file, Matmul* matmul, u64 (*probe)(u64)) {
  return {
      .name = name,
      .features = features,
      .in_file = in_file,
      .quantize = Forwarded<base, &Table::quantize>::call,
      .matmul = matmul,
      .rms_norm = Forwarded<base, &Table::rms_norm>::call,
      .add = Forwarded<base, &Table::add>::call,
      .scale = Forwarded<base, &Table::scale>::call,
      .silu_mul = Forwarded<base, &Table::silu_mul>::call,
      .gelu_mul = Forwarded<base, &Table::gelu_mul>::call,
      .swiglu_clamped = Forwarded<base, &Table::swiglu_clamped>::call,
      .softcap = Forwarded<base, &Table::softcap>::call,
      .mul = Forwarded<base, &Table::mul>::call,
      .relu_squared = Forwarded<base, &Table::relu_squared>::call,
      .silu = Forwarded<base, &Table::silu>::call,
      .sigmoid_mul = Forwarded<base, &Table::sigmoid_mul>::call,
      .convolve = Forwarded<base, &Table::convolve>::call,
      .delta_rule = Forwarded<base, &Table::delta_rule>::call,
      .rope = Forwarded<base, &Table::rope>::call,
      .store_key = Forwarded<base, &Table::store_key>::call,
      .store_value = Forwarded<base, &Table::store_value>::call,
      .attend = Forwarded<base, &Table::attend>::call,
      .sum_exp = Forwarded<base, &Table::sum_exp>::call,
      .probe = probe,
  };
}

}  // namespace
}  // namespace flyball::kernels
