// Included first by the instruction-set files. Everything in them but the table has internal linkage and no function is
// shared with portable code: the linker may keep any copy of a shared inline function, also one made of wide
// instructions.

#if defined(__GNUC__) && !defined(__clang__)
// gcc 12's own intrinsics read undefined registers on purpose (gcc bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define FLYBALL_INLINE [[gnu::always_inline]] inline
#define FLYBALL_LAMBDA __attribute__((always_inline))
#define FLYBALL_NOINLINE [[gnu::noinline]]  // keeps the stack frames of firmware small: callers hold an unpacked panel

namespace flyball::kernels {
namespace {

template <u32 n>
struct Constant {
  static constexpr u32 value = n;
  constexpr operator u32() const { return n; }
};

// Loads stay on their side of it. Without, the compiler merges equal loads across a long unrolled block, and spills
// them.
FLYBALL_INLINE void keep_order() { __asm__ volatile("" ::: "memory"); }

template <u32... i>
struct Indices {};
template <u32 n, u32... i>
struct CountTo : CountTo<n - 1, n - 1, i...> {};
template <u32... i>
struct CountTo<0, i...> {
  using Type = Indices<i...>;
};

template <u32... i, class Function>
FLYBALL_INLINE void each_listed(Indices<i...>, Function f) {
  (f(Constant<i>()), ...);
}

// f(Constant<0>()) ... f(Constant<n - 1>()), all inlined: an index that is a constant at every call. Nested, each level
// of inlining copies and optimizes the whole body again: for the short, innermost loops, whose sums must be registers.
template <u32 n, class Function>
FLYBALL_INLINE void each_constant(Function f) {
  each_listed(typename CountTo<n>::Type(), f);
}

// f(0) ... f(n - 1), unrolled when all is inlined: a tenth of the time to compile.
template <u32 n, class Function>
FLYBALL_INLINE void unroll(Function f) {
#pragma GCC unroll 64
  for (u32 i = 0; i < n; ++i) f(i);
}

// Chains that a sum of so many independent neighbors is divided into. One keeps the order that docs/numerics.md
// defines; a build for bench/exactness.py frees it where additions wait for each other.
#ifdef FLYBALL_UNORDERED_SUMS
constexpr u32 sum_chains(u32 neighbors) { return neighbors <= 4 ? 2 : 1; }
#else
constexpr u32 sum_chains(u32) { return 1; }
#endif

// f(i, chain) for i of [begin, end): neighbors in turn to chains 0 .. n - 1.
template <u32 n, class Function>
FLYBALL_INLINE void each_in_chains(u64 begin, u64 end, Function f) {
  for (; begin + n <= end; begin += n)
    each_constant<n>([&](auto chain) FLYBALL_LAMBDA { f(begin + chain.value, chain); });
  if constexpr (n > 1) {
    for (; begin < end; ++begin) f(begin, Constant<0>());
  }
}

}  // namespace
}  // namespace flyball::kernels
