// Blocks in the file's layout: dequantize_row against values that the gguf Python package gives, and the packed layout.
#include <cmath>

#include "engine/packed_copy.h"
#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;

// Three blocks of bytes from a fixed generator, with the scales below: their values' FNV-1a hash over the little-endian
// bits, and the values at 0, 5, 17, n / 2 + 9 and n - 1. From gguf.quants.dequantize (gguf 0.19).
struct Known {
  Type type;
  u64 hash;
  f32 sample[5];
};
constexpr Known known[] = {
    {Type::q4_0, 0xd1c2b34f14bc6782u, {0x1.a22000p-3f, 0x1.16c000p-2f, 0x1.16c000p-3f, 0x1.b1c000p-2f, 0x1.9f4000p-2f}},
    {Type::q4_1, 0x76cdb03ef00e9f36u, {0x1.fec800p-2f, 0x1.fec800p-2f, 0x1.6f8000p-6f, 0x1.23c000p-2f, 0x1.417200p+0f}},
    {Type::q5_0,
     0x53705a91d85c81d0u,
     {0x1.e7d000p-1f, -0x1.16c000p-3f, -0x1.16c000p-1f, 0x1.044000p+0f, 0x1.038800p-1f}},
    {Type::q5_1, 0xe2e75385c9f29275u, {0x1.fec800p-2f, 0x1.2dea00p+0f, 0x1.dc2200p+0f, 0x1.3f6000p-1f, 0x1.178c00p-1f}},
    {Type::q8_0,
     0x584c5cdde6791e64u,
     {-0x1.fd9700p+2f, -0x1.f93c00p+2f, -0x1.c4f800p-1f, -0x1.b1c000p+0f, 0x1.d32800p+2f}},
    {Type::q2_k, 0x2ea1e8442fa995c9u, {0x1.5c7000p-2f, 0x1.5c7000p-2f, 0x1.16c000p-1f, 0x1.0b2800p+1f, 0x1.af3200p+0f}},
    {Type::q3_k,
     0x10dc4bf5ff0743bbu,
     {0x1.a22000p-1f, -0x1.a22000p-2f, 0x1.90b400p+0f, -0x1.044000p+1f, 0x1.854c00p+1f}},
    {Type::q4_k, 0xb2e4a3e63952b94bu, {0x1.d69600p+3f, 0x1.998300p+4f, 0x1.c51100p+4f, 0x1.a21800p+2f, 0x1.bafc80p+2f}},
    {Type::q5_k, 0x553c20f4a3b936fcu, {0x1.d21580p+5f, 0x1.90c080p+5f, 0x1.998300p+4f, 0x1.b04c00p+4f, 0x1.f39900p+4f}},
    {Type::q6_k,
     0xe2c57aacefa826a7u,
     {0x1.cf0a70p+6f, -0x1.b8fdc0p+6f, -0x1.81de08p+7f, 0x1.e7f800p+3f, -0x1.16ff00p+5f}},
    {Type::iq4_nl,
     0xa7b0bfddf57fe0e5u,
     {0x1.4b0400p+1f, 0x1.cdae00p+1f, 0x1.b38c00p+0f, 0x1.761c00p+2f, 0x1.57e100p+2f}},
    {Type::iq4_xs,
     0x3cf3820593c2b09au,
     {0x1.a22000p+0f, -0x1.0f20c0p+7f, 0x1.5a4280p+6f, -0x1.455000p+0f, -0x1.0d4380p+4f}},
    {Type::mxfp4, 0xdc57490b80aeeb1fu, {0x1.000000p-121f, -0x1.000000p-120f, 0, 0x1.000000p+118f, 0x1.800000p+20f}},
    {Type::iq3_xxs,
     0x3492e944b33f32a7u,
     {-0x1.df1a00p+1f, 0x1.30e200p+1f, -0x1.055400p+0f, -0x1.455000p+0f, -0x1.108200p+1f}},
    {Type::iq3_s,
     0x0b70868105c6066cu,
     {-0x1.25fe80p+3f, 0x1.e9fd80p+3f, 0x1.c95300p+2f, -0x1.96a400p+2f, 0x1.b5f580p+3f}},
    {Type::iq2_xxs,
     0x37c5bd78967a3fdfu,
     {0x1.b38c00p+0f, -0x1.b38c00p+0f, -0x1.544560p+2f, -0x1.f2d000p+0f, -0x1.108200p+1f}},
    {Type::iq2_xs,
     0x6ac7a05f0bee748cu,
     {-0x1.390ca0p+2f, 0x1.90b400p+0f, -0x1.7f4800p-1f, -0x1.24c800p+1f, 0x1.be11c0p+1f}},
    {Type::iq2_s,
     0xb3314bbd1a0d52cfu,
     {0x1.4b0400p+0f, 0x1.bccd60p+2f, -0x1.282c00p+0f, 0x1.069f40p+3f, -0x1.038800p-1f}},
    {Type::iq1_s,
     0xba47955594c2944bu,
     {-0x1.055400p-3f, -0x1.25fe80p+0f, -0x1.055400p-3f, -0x1.044000p-5f, -0x1.c62e00p-2f}},
    {Type::iq1_m,
     0xf437b57655edfa96u,
     {0x1.d45100p+3f, 0x1.a04800p+0f, -0x1.ebf800p+0f, -0x1.1bd400p+12f, 0x1.819a00p+15f}},
    {Type::tq1_0, 0x889345e14532ce4fu, {-0x1.16c000p-4f, -0x1.16c000p-4f, 0x1.16c000p-4f, 0x0.0p+0f, -0x1.9f4000p-4f}},
    {Type::tq2_0, 0xe31158c256302bd8u, {0x0.0p+0f, -0x1.16c000p-4f, 0x0.0p+0f, -0x1.5b0000p-4f, 0x1.9f4000p-4f}},
    {Type::nvfp4, 0x99ff7173b8734b16u, {0x0.0p+0f, 0x0.0p+0f, 0x1.000000p-7f, -0x1.a00000p+2f, -0x1.680000p+1f}},
    {Type::q1_0,
     0x3d71d71807d7f725u,
     {0x1.16c000p-4f, -0x1.16c000p-4f, -0x1.16c000p-4f, 0x1.5b0000p-4f, 0x1.9f4000p-4f}},
    {Type::q2_0,
     0x50d352c989cd49fau,
     {0x1.16c000p-3f, -0x1.16c000p-4f, 0x1.16c000p-3f, 0x1.5b0000p-3f, 0x1.9f4000p-3f}},
};

std::vector<u8> known_blocks(Type type) {
  const gguf::TypeInfo& info = *gguf::type_info(u32(type));
  std::vector<u8> bytes(3 * info.block_bytes);
  u32 state = 12345;
  for (u8& byte : bytes) byte = u8((state = state * 1664525u + 1013904223u) >> 24);
  for (u32 block = 0; block < 3; ++block) {
    u32 half = 0x2c5b;
    for (const u32 offset : half_offsets(type)) {
      const u16 value = u16(half + 0x111 * block);
      std::memcpy(bytes.data() + block * info.block_bytes + offset, &value, 2);
      half = 0xa9d7;
    }
  }
  return bytes;
}

}  // namespace

TEST(dequantize_known_blocks) {
  for (const Known& k : known) {
    const u32 n = 3 * gguf::type_info(u32(k.type))->block_values;
    std::vector<f32> values(n);
    kernels::dequantize_row(k.type, known_blocks(k.type).data(), n, values.data());
    const u32 at[] = {0, 5, 17, n / 2 + 9, n - 1};
    for (u32 i = 0; i < 5; ++i) {
      if (values[at[i]] != k.sample[i]) test::note(type_text(k.type) + " at " + std::to_string(at[i]));
      CHECK_EQ(values[at[i]], k.sample[i]);
    }
    CHECK_EQ(hash_bytes({reinterpret_cast<const char*>(values.data()), n * sizeof(f32)}), k.hash);
  }
}

// The exponents at both ends: halves of 2^-127 and 2^-126, which are subnormal, of 2^127, and NaN.
TEST(dequantize_mxfp4_exponents) {
  const struct {
    u8 exponent;
    f32 largest;
  } blocks[] = {{0, 0x1.8p-125f}, {1, 0x1.8p-124f}, {2, 0x1.8p-123f}, {252, 0x1.8p+127f}, {254, __builtin_inff()}};
  u8 block[17] = {};
  f32 out[32];
  block[1] = 0x17;  // values 0 and 16: 12 and 1, doubled
  for (const auto& b : blocks) {
    block[0] = b.exponent;
    kernels::dequantize_row(Type::mxfp4, block, 32, out);
    CHECK_EQ(out[0], b.largest);
    CHECK_EQ(out[16], std::ldexp(1.0f, b.exponent - 128));
    CHECK_EQ(out[1], 0.0f);
  }
  block[0] = 255;
  kernels::dequantize_row(Type::mxfp4, block, 32, out);
  for (const f32 value : out) CHECK(value != value);
}

TEST(dequantize_floats) {
  const u16 halves[] = {0x3c00, 0xc000, 0x0001};
  const f32 floats[] = {1.5f, -0.0f, 3e-40f};
  f32 out[3];
  kernels::dequantize_row(Type::f16, reinterpret_cast<const u8*>(halves), 3, out);
  CHECK(out[0] == 1.0f && out[1] == -2.0f && out[2] == 0x1p-24f);
  kernels::dequantize_row(Type::bf16, reinterpret_cast<const u8*>(halves), 3, out);
  CHECK(out[0] == 0x1p-7f && out[1] == -2.0f && out[2] == bit_cast<f32>(0x10000u));
  kernels::dequantize_row(Type::f32, reinterpret_cast<const u8*>(floats), 3, out);
  CHECK(std::memcmp(out, floats, sizeof out) == 0);
}

// Any split of the groups gives the same bytes; rows that do not exist are zero; nothing is written past the end.
TEST(pack_groups_in_parts) {
  Random random(3);
  for (const Type type : all_types) {
    const u32 cols = kernels::activation_kind(type) == kernels::ActivationKind::none ? 67 : 512, rows = 37;
    const std::vector<u8> bytes = random_rows(type, rows, cols, random, Fill::ordinary);
    const u64 group = kernels::packed_group_bytes(type, cols);
    CHECK_EQ(group % 64, 0);
    Buffer<u8> whole(3 * group + 64, 0x5a), parts(3 * group, 0x11);
    kernels::pack_groups(type, bytes.data(), rows, cols, 0, 3, whole.data());
    for (u32 g = 0; g < 3; ++g)
      kernels::pack_groups(type, bytes.data(), rows, cols, g, g + 1, parts.data() + g * group);
    CHECK(std::memcmp(whole.data(), parts.data(), 3 * group) == 0);
    for (u32 i = 0; i < 64; ++i) CHECK_EQ(whole[3 * group + i], 0x5a);
  }
}

// Packed copies on disks have this layout. Who changes it raises engine::PackedHeader::layout, and writes the new hash here.
TEST(packed_bytes_are_those_of_their_version) {
  Random random(11);
  flyball::Sha256 hash;
  for (const Type type : all_types) {
    const u32 cols = kernels::activation_kind(type) == kernels::ActivationKind::none ? 67 : 512, rows = 37;
    const std::vector<u8> bytes = random_rows(type, rows, cols, random, Fill::ordinary);
    Buffer<u8> packed(3 * kernels::packed_group_bytes(type, cols), 0);
    kernels::pack_groups(type, bytes.data(), rows, cols, 0, 3, packed.data());
    hash.update({packed.data(), packed.size()});
  }
  char digits[64];
  hex(hash.finish(), digits);
  CHECK_EQ(flyball::engine::PackedHeader::layout, 1u);
  CHECK_EQ(std::string(digits, sizeof digits), "d546c554e74ad947d53a0ab53c4c5a7b0afed4a4750bdee1d747b838616e6163");
}

// The layout as pack.h defines it, spelled out for one type of each family.
TEST(pack_layout) {
  Random random(4);
  const u32 rows = 16, cols = 512;
  {
    const std::vector<u8> bytes = random_rows(Type::q5_0, rows, cols, random, Fill::ordinary);
    const PackedMatrix w(Type::q5_0, rows, cols, bytes);
    const u8* body = w.data.data() + kernels::head_plane_bytes(Type::q5_0, cols);
    CHECK_EQ(kernels::head_plane_bytes(Type::q5_0, cols), 16 * 32);
    u32 wrong = 0;
    for (u32 r = 0; r < 16; ++r) {
      for (u32 b = 0; b < 16; ++b) {
        const u8* block = bytes.data() + (r * 16 + b) * 22;
        wrong += std::memcmp(w.data.data() + 32 * b + 2 * r, block, 2) != 0;
        const u8* packed = body + b * 320;
        u32 high;
        std::memcpy(&high, block + 2, 4);
        for (u32 i = 0; i < 16; ++i) wrong += packed[64 + 64 * (i / 4) + 4 * r + i % 4] != block[6 + i];
        for (u32 i = 0; i < 32; ++i)
          wrong += (packed[8 * (i / 4) + (4 * r + i % 4) / 8] >> (4 * r + i % 4) % 8 & 1) != (high >> i & 1);
      }
    }
    CHECK_EQ(wrong, 0);
  }
  {
    const std::vector<u8> bytes = random_rows(Type::q6_k, rows, cols, random, Fill::ordinary);
    const PackedMatrix w(Type::q6_k, rows, cols, bytes);
    u32 wrong = 0;
    for (u32 r = 0; r < 16; ++r) {
      for (u32 b = 0; b < 2; ++b) {
        const u8* block = bytes.data() + (r * 2 + b) * 210;
        const u8* packed = w.data.data() + kernels::head_plane_bytes(Type::q6_k, cols) + b * 3328;
        for (u32 s = 0; s < 16; ++s) wrong += packed[16 * s + r] != block[192 + s];
        for (u32 i = 0; i < 128; ++i) wrong += packed[256 + 64 * (i / 4) + 4 * r + i % 4] != block[i];
        for (u32 i = 0; i < 64; ++i) wrong += packed[256 + 2048 + 64 * (i / 4) + 4 * r + i % 4] != block[128 + i];
      }
    }
    CHECK_EQ(wrong, 0);
  }
}
