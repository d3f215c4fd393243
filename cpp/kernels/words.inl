// Weights as the packed layout has them, for tables without vector registers: a u32 has four values of a row, a byte each,
// and a u64 those of two rows that follow each other. Included inside the namespace of the file that uses it.

template <class Word>
constexpr Word each_byte = Word(0x0101010101010101u);
template <class Word>
constexpr Word all_bytes(u32 byte) {
  return each_byte<Word> * byte;
}

// Rows [i * n, (i + 1) * n) of vector c, n rows to a word.
template <class Word>
Word vector_word(const u8* vectors, u32 c, u32 i) {
  Word word;
  memcpy(&word, vectors + 64 * c + sizeof(Word) * i, sizeof(Word));
  return word;
}

// Block b of a group: from its planes, or packed here from rows as the file has them, where these have a size.
template <Type type>
struct BlockBytes {
  static constexpr PackedShape shape = packed_shape(type);
  const u8* head;
  const u8* body;
  alignas(64) u8 own[shape.head_bytes + shape.body_bytes];
  BlockBytes(const u8* group, u64 row_bytes, u32 cols, u32 b)
      : head(group + head_at(type, b)), body(group + head_plane_bytes(type, cols) + u64(b) * shape.body_bytes) {
    if (row_bytes == 0) return;
    head = own, body = own + shape.head_bytes;
    pack_block(type, group + u64(b) * (row_bytes / (cols / 32)), row_bytes, own, own + shape.head_bytes);
  }
};

// `bits` bits of each byte, from `shift` on.
template <class Word>
Word field(Word word, u32 shift, u32 bits) {
  return word >> shift & all_bytes<Word>((1u << bits) - 1);
}

// A mask's bits of the word's rows, in bit 0 of each byte.
template <class Word>
Word mask_bytes(const u8* masks, u32 mask, u32 i) {
  const auto spread = [](u32 bits) { return bits * 0x00204081u & each_byte<u32>; };  // of one row
  if constexpr (sizeof(Word) == 4) return spread(masks[8 * mask + i / 2] >> (4 * (i % 2)) & 15u);
  const u32 bits = masks[8 * mask + i];
  return Word(u64(spread(bits >> 4)) << 32 | spread(bits & 15));
}

// Of a row's values 4v .. 4v+3, from the words of their point.
template <Type type>
u32 grid_codes(const u8* body, u32 r, u32 v) {
  constexpr Grid grid = grid_of(type);
  const u32 i = v / grid.words();
  const auto bit = [&](u32 plane) {
    const u8* mask = body + grid.highs() + 2 * (plane * grid.n + i);
    return u32(mask[r / 8] >> (r % 8) & 1);
  };
  u32 number = body[grid.numbers() + 16 * i + r];
  for (u32 b = 0; b < grid.high_bits; ++b) number |= bit(b) << (8 + b);
  const u32 sizes = grid_points<type>().words[grid.words() * number + v % grid.words()];
  if constexpr (grid.shifted) return sizes + all_bytes<u32>(2 * bit(grid.high_bits));
  // The offset plus or minus the size: below zero its complement and one.
  const u32 below = mask_bytes<u32>(body + grid.signs(), v, r) * (u32(grid.offset) - 1);
  return (sizes ^ below) + (all_bytes<u32>(u32(grid.offset)) - below);
}

// Codes of values 4v .. 4v+3 of a block: unsigned, but for Q8_0, whose codes are its values.
template <Type type, class Word>
Word codes32(const u8* body, u32 i, u32 v) {
  if constexpr (type == Type::q8_0) return vector_word<Word>(body, v, i);
  if constexpr (type == Type::q1_0) return mask_bytes<Word>(body, v, i) << 1;
  if constexpr (type == Type::q2_0) return field(vector_word<Word>(body, v % 2, i), 2 * (v / 2), 2);
  if constexpr (type == Type::nvfp4) return field(vector_word<Word>(body, v / 4 * 2 + v % 2, i), 4 * (v / 2 % 2), 4);
  constexpr bool five = type == Type::q5_0 || type == Type::q5_1;
  const Word codes = field(vector_word<Word>(body + (five ? 64 : 0), v % 4, i), v < 4 ? 0 : 4, 4);
  if constexpr (five) return codes | mask_bytes<Word>(body, v, i) << 4;
  return codes;
}

// A byte q is the fraction q / 256, and its digits in base 3 are the integers that come of multiplying it by 3.
template <class Word>
Word ternary_digits(Word bytes, u32 power) {
  Word digits = 0;
  for (u32 j = 0; j < sizeof(Word); ++j) {
    const u32 rest = u32(bytes >> (8 * j) & 255) * power & 255;
    digits |= Word(rest * 3 >> 8) << (8 * j);
  }
  return digits;
}

template <Type type, class Word>
Word codes256(const u8* body, u32 i, u32 v) {
  const u32 half = v / 32, sub = v / 8, c = v % 8;  // sub-blocks of 32
  if constexpr (has_grid(type)) {
    if constexpr (sizeof(Word) == 4) return grid_codes<type>(body, i, v);
    return Word(u64(grid_codes<type>(body, 2 * i + 1, v)) << 32 | grid_codes<type>(body, 2 * i, v));
  } else if constexpr (type == Type::tq2_0) {
    return field(vector_word<Word>(body, 8 * half + c, i), 2 * (sub % 4), 2);
  } else if constexpr (type == Type::tq1_0) {
    return ternary_digits(vector_word<Word>(body, ternary_vector(v), i), ternary_power(v));
  } else if constexpr (type == Type::q2_k) {
    return field(vector_word<Word>(body + 256, 8 * half + c, i), 2 * (sub % 4), 2);
  } else if constexpr (type == Type::q3_k) {
    const Word low = field(vector_word<Word>(body + 256 + 512, 8 * half + c, i), 2 * (sub % 4), 2);
    return low | mask_bytes<Word>(body + 256, v, i) << 2;
  } else if constexpr (type == Type::q4_k) {
    return field(vector_word<Word>(body + 192, sub / 2 * 8 + c, i), 4 * (sub % 2), 4);
  } else if constexpr (type == Type::q5_k) {
    const Word low = field(vector_word<Word>(body + 192 + 512, sub / 2 * 8 + c, i), 4 * (sub % 2), 4);
    return low | mask_bytes<Word>(body + 192, v, i) << 4;
  } else if constexpr (type == Type::q6_k) {
    const Word low = field(vector_word<Word>(body + 256, 16 * half + v % 16, i), 4 * (sub % 4 / 2), 4);
    const Word high = field(vector_word<Word>(body + 256 + 2048, 8 * half + c, i), 2 * (sub % 4), 2);
    return low | high << 4;
  } else {
    static_assert(type == Type::iq4_xs);
    return field(vector_word<Word>(body + 128, 4 * sub + v % 4, i), 4 * (v / 4 % 2), 4);
  }
}

// The offset of a code from its value.
constexpr u32 code_offset(Type type) {
  if (has_grid(type)) return u32(grid_of(type).offset);
  return type == Type::q3_k   ? 4
         : type == Type::q4_0 ? 8
         : type == Type::q5_0 ? 16
         : type == Type::q6_k ? 32
         : is_one_more(type)  ? 1
                              : 0;
}

template <Type type, class Word>
Word codebook_values(Word codes) {
  static constexpr Codebook book = codebook(type);
  Word values = 0;
  for (u32 j = 0; j < sizeof(Word); ++j) values |= Word(u8(book.values[codes >> (8 * j) & 15u])) << (8 * j);
  return values;
}

// The scales and minima of a block of 256, one for each 16 values; types with sub-blocks of 32 repeat them.
template <Type type, class Block>
void decode_scales(const u8* body, u32 r, Block* block) {
  for (u32 s = 0; s < 16; ++s) {
    if constexpr (type == Type::q2_k) {
      block->scale[r][s] = i8(body[16 * s + r] & 15);
      block->minimum[r][s] = body[16 * s + r] >> 4;
    } else if constexpr (type == Type::q3_k || type == Type::q6_k) {
      block->scale[r][s] = i8(body[16 * s + r]);
    } else if constexpr (type == Type::tq1_0 || type == Type::tq2_0) {
      block->scale[r][s] = 1;
    } else if constexpr (has_grid(type)) {
      const u32 sub = s * 16 / grid_of(type).sub_values;
      block->scale[r][s] = i8(2 * (body[16 * (sub / 2) + r] >> (4 * (sub % 2)) & 15) + 1);
    } else if constexpr (type == Type::iq4_xs) {
      block->scale[r][s] = i8(body[16 * (s / 2) + r]);
    } else {
      const u8* first = body + 4 * r;  // bytes 0..3; 4..7 and 8..11 are 64 bytes apart
      const u32 k = s / 2;
      if (k < 4) {
        block->scale[r][s] = i8(first[k] & 63);
        block->minimum[r][s] = first[64 + k] & 63;
      } else {
        const u32 last = first[128 + k - 4];
        block->scale[r][s] = i8((last & 15u) | u32(first[k - 4] >> 6) << 4);
        block->minimum[r][s] = u8(last >> 4 | u32(first[64 + k - 4] >> 6) << 4);
      }
    }
  }
}

f32 half_at(const u8* p, u32 i) { return half_to_f32(u16(p[2 * i] | p[2 * i + 1] << 8)); }
template <Type type>
f32 scale_at(const u8* head, u32 r, u32 part = 0) {
  if constexpr (type == Type::nvfp4) return fraction_scale(head[16 * part + r]);
  return type == Type::mxfp4 ? exponent_scale(head[r]) : half_at(head, r) * grid_of(type).unit;
}

// Where a group's results go: y of its first row, and how many rows of it exist. All 16 are computed: a constant count
// becomes vector code.
struct Output {
  f32* y;
  u64 stride;
  u32 n_rows;

  void load(u32 token, bool first, f32* sum) const {
    for (u32 r = 0; r < group_rows; ++r) sum[r] = 0;
    if (!first) memcpy(sum, y + token * stride, n_rows * sizeof(f32));
  }
  void store(u32 token, const f32* sum) const { memcpy(y + token * stride, sum, n_rows * sizeof(f32)); }
};
