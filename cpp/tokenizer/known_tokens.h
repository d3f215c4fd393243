// Tokens that files name only by their text, collected from the vocabularies' own configurations and from llama.cpp.
#pragma once

#include "base/span.h"

namespace flyball::tokenizer {

// Ends a turn; the first that a vocabulary has is its EOT where the file names none.
inline constexpr Str end_of_turn_texts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",         "<|endoftext|>",      "<|end_of_text|>",
    "<EOT>",      "_<EOT>",     "[EOT]",   "<｜end▁of▁sentence｜>", "<end_of_utterance>",
};

// Ends generation as well, without being an EOT.
inline constexpr Str end_of_generation_texts[] = {
    "<|eom_id|>", "<|return|>",   "<|call|>",         "<|calls|>",   "<|flush|>", "[EOS]",      "<eos>",
    "<turn|>",    "[e~[",         "<|tool_response>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>",  "<PAD>",
    "[PAD]",      "<|fim_repo|>", "<|repo_name|>",    "<fim-repo>",  "<REPO>",    "<reponame>", "<|file_sep|>",
};

// Control tokens even where a file does not mark them so.
inline constexpr Str control_texts[] = {
    "<|fim_prefix|>",  "<fim-prefix>",  "<fim_prefix>",    "<｜fim▁begin｜>", "<PRE>",           "▁<PRE>",
    "<|code_prefix|>", "<|prefix|>",    "<|fim_suffix|>",  "<fim-suffix>",    "<fim_suffix>",    "<｜fim▁hole｜>",
    "<SUF>",           "▁<SUF>",        "<|code_suffix|>", "<|suffix|>",      "<|fim_middle|>",  "<fim-middle>",
    "<fim_middle>",    "<｜fim▁end｜>", "<MID>",           "▁<MID>",          "<|code_middle|>", "<|middle|>",
};

// Gemma 4's marks of thoughts and tool calls in an answer. Its files call them user-defined, so that any text would turn
// into them; they are control tokens here, but shown in what the model says.
inline constexpr Str shown_texts[] = {
    "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>",
};

}  // namespace flyball::tokenizer
