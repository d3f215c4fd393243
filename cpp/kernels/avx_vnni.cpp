// AVX2 with AVX-VNNI: Alder Lake and later, Zen 5. Compiled with its own flags; exports avx_vnni_table and nothing else.
#include <immintrin.h>

#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

#include "kernels/isa.inl"

namespace flyball::kernels {
namespace {

constexpr bool has_dot4 = true;
FLYBALL_INLINE __m256i dot4(__m256i sum, __m256i sizes, __m256i a) { return _mm256_dpbusd_avx_epi32(sum, sizes, a); }

}  // namespace
}  // namespace flyball::kernels

#include "kernels/avx_vnni.inl"

namespace flyball::kernels {

const Table avx_vnni_table = avx_vnni_table_as("avx_vnni", cpu_avx_vnni);

}  // namespace flyball::kernels
