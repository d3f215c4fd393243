// What the kernels on AVX2's registers do otherwise where these are pairs (sse41_registers.inl): instructions that are
// written out, and how much fits into sixteen of them. Part of avx2.cpp and avx_vnni.cpp.

namespace flyball::kernels {
namespace {

// Keeps a value in its register. Left alone, the compiler makes a tree of a chain of integer sums, and spills its leaves.
FLYBALL_INLINE __m256i pinned(__m256i x) {
  __asm__("" : "+x"(x));
  return x;
}
FLYBALL_INLINE __m256i broadcast_word(i32 word) { return pinned(_mm256_set1_epi32(word)); }
// Has a value computed that nothing uses.
FLYBALL_INLINE void keep(__m256i x) { __asm__ volatile("" ::"x"(x)); }

// Words of a constant table by their numbers, which are in register 0: emulators before QEMU 9.1 take register 4 for none
// there and read elsewhere (its issue 2474).
[[maybe_unused]] FLYBALL_INLINE __m256i gather(const u32* table, __m256i number) {
  __m256i to = _mm256_setzero_si256(), all = _mm256_set1_epi32(-1);
  __asm__("vpgatherdd %1, (%3,%2,4), %0" : "+&x"(to), "+&x"(all) : "Yz"(number), "r"(table));
  return to;
}
[[maybe_unused]] FLYBALL_INLINE __m256d gather_pairs(const u32* table, __m128i number) {
  __m256d to = _mm256_setzero_pd(), all = _mm256_castsi256_pd(_mm256_set1_epi32(-1));
  __asm__("vgatherdpd %1, (%3,%2,8), %0" : "+&x"(to), "+&x"(all) : "Yz"(number), "r"(table));
  return to;
}

// Attention's tiles of registers: rows that take the cache as it is, and rows that share what was converted to f32.
constexpr u32 direct_rows = 4, shared_rows = 6;
constexpr u32 row_tile_vectors(u32 rows) { return rows >= 4 ? 1 : rows == 2 ? 2 : 4; }
// Of matrix products: a full tile, and tokens that meet a panel.
constexpr u32 tile_groups = 1, least_tile_tokens = 3, tile_tokens = 4;
constexpr u32 panel_tokens = 192;
constexpr u64 resident_bytes = 384 << 10;  // of activations that stay in L2 while the groups pass by
// Tokens at most that take codes straight from the packed block.
constexpr u32 few_tokens = 6;
// With float weights.
constexpr u32 float_tile_tokens = 4;
constexpr u32 float_tile_groups(u32 tokens) { return tokens == 1 ? 4 : tokens == 2 ? 2 : 1; }

// Blocks of a recurrence's columns at once: as many sums as hide an addition's latency and find registers.
constexpr bool delta_pairs = false;

}  // namespace
}  // namespace flyball::kernels
