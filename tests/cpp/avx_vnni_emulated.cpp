// Compiled with AVX2's flags, so nothing of the standard library may come in.
#include "avx_vnni_emulated.h"

#include <immintrin.h>

#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

#include "kernels/isa.inl"

namespace flyball::kernels {
namespace {

constexpr bool has_dot4 = true;
// VPDPBUSD as the instruction's manual says it: four products of u8 and i8 and the sum, none of them rounded or cut off.
FLYBALL_INLINE __m256i dot4(__m256i sum, __m256i sizes, __m256i a) {
  const __m256i even_sizes = _mm256_and_si256(sizes, _mm256_set1_epi16(255));
  const __m256i even = _mm256_madd_epi16(even_sizes, _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(sizes, 8), _mm256_srai_epi16(a, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

}  // namespace
}  // namespace flyball::kernels

#include "kernels/avx_vnni.inl"

constinit const flyball::kernels::Table avx_vnni_emulated_table =
    flyball::kernels::avx_vnni_table_as("avx_vnni-emulated", 0);
