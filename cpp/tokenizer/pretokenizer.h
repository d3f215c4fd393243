// Pre-tokenizers of BPE by the name in `tokenizer.ggml.pre`: one or more regexes, applied in order, each to
// the pieces of the one before. Other names than the table's are an error.
#pragma once

#include "tokenizer/regex.h"

namespace flyball::tokenizer {

struct PreTokenizer {
  Str name;
  Span<const regex::Program* const> stages;
  bool whole_words = false;  // a word that is a token stays one, whatever the merges say ("ignore_merges")
  bool add_bos = false;      // the default where the file has no tokenizer.ggml.add_bos_token
  bool composes = false;     // text is put into NFC first, as the vocabulary's own tokenizer does
  bool characters = false;   // merges characters, with U+2581 for a space and <0xNN> for other bytes; else bytes
  bool gemma = false;        // begins with BOS whatever the file says; a run of newlines that is a token stays one
};

const PreTokenizer* find_pre_tokenizer(Str name);  // null: not known
Span<const PreTokenizer> pre_tokenizers();

// Marks the last character of each word with `word_end`.
void split_words(const PreTokenizer& pre, Span<Char> text);

}  // namespace flyball::tokenizer
