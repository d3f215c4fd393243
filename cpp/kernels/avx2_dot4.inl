// Sums of four products, which AVX2 alone does not have: its kernels add pairs in i16. Part of avx2.cpp.

namespace flyball::kernels {
namespace {

constexpr bool has_dot4 = false;
FLYBALL_INLINE __m256i dot4(__m256i sum, __m256i, __m256i) { return sum; }

}  // namespace
}  // namespace flyball::kernels
