// How a batch is cut for tiles. Part of amx.inl.
// Tokens come in slots: the 16 (or 8) that are the rows of a tile. A group's block is unpacked into weight tiles once for a
// panel of slots. The last slot ends with the last token and may overlap the one before: equal results, twice.

namespace flyball::kernels {
namespace {

constexpr u32 panel_slots = 12;

template <u32 tokens>
struct SlotSums {  // half a panel's: what one stack frame holds
  static constexpr u32 n = panel_slots / 2;
  alignas(64) f32 sum[n][tokens][16];
};

// The slots of a panel, `first` and `n` counted in slots of the batch.
template <u32 tokens>
struct Panel {
  u32 n_tokens;
  u32 first;
  u32 n;
  SlotSums<tokens>* sums[2];
  FLYBALL_INLINE u32 token(u32 slot) const {
    const u32 at = (first + slot) * tokens;
    return at + tokens <= n_tokens ? at : n_tokens - tokens;
  }
  FLYBALL_INLINE f32* sums_of(u32 slot) const {
    constexpr u32 half = SlotSums<tokens>::n;
    return slot < half ? sums[0]->sum[slot][0] : sums[1]->sum[slot - half][0];
  }
};

// The compiler then adds constants to it where it is used, instead of keeping each sum in a register of its own.
FLYBALL_INLINE f32* opaque(f32* p) {
  __asm__("" : "+r"(p));
  return p;
}

}  // namespace
}  // namespace flyball::kernels
