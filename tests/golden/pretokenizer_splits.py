"""Writes tests/cpp/pretokenizer_splits.inc: how Hugging Face `tokenizers` splits texts into words.

    pip install 'tokenizers>=0.21,<0.24'
    python tests/golden/pretokenizer_splits.py

The expressions are written down here once more, as in each tokenizer.json, so that a slip there shows. The
texts have no characters that are newer than Unicode 15.1: the library's regex engine knows a later version.
"""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

TARGET = Path(__file__).resolve().parents[1] / "cpp" / "pretokenizer_splits.inc"

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER_LOWER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
HAN = (
    "\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufa6d\ufa70-\ufad9\U00016fe2\U00016fe3\U00016ff0\U00016ff1\U00020000-\U0002a6df\U0002a700-\U0002b739"
    "\U0002b740-\U0002b81d\U0002b820-\U0002cea1\U0002ceb0-\U0002ebe0\U0002ebf0-\U0002ee5d\U0002f800-\U0002fa1d"
    "\U00030000-\U0003134a\U00031350-\U000323af"
)
KIMI_UPPER = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^{HAN}]]"
KIMI_LOWER = rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^{HAN}]]"
CJK = "[一-龥\u3040-ゟ゠-ヿ]+"
CJK_HANGUL = "[一-龥ࠀ-一가-\ud7ff]+"
PUNCTUATED = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

GPT4O = f"{UPPER_LOWER}{CONTRACTIONS}?|{UPPER}{CONTRACTIONS}?" + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES
DEEPSEEK3 = PUNCTUATED + r"| ?[\p{P}\p{S}]+[\r\n]*" + SPACES
EXPRESSIONS = {
    "gemma4": [r"[^\n]+|[\n]+"],
    "jais-2": [
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)"
        r"|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
    ],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "chameleon": [
        "<sentinel:[0-9]+>",
        "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
        "([\t\n]|    |  )",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        GPT2,
    ],
    "exaone-moe": [
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
    "kimi-k2": [
        rf"[{HAN}]+|[^\r\n\p{{L}}\p{{N}}]?{KIMI_UPPER}*{KIMI_LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?"
        rf"{KIMI_UPPER}+{KIMI_LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*" + SPACES
    ],
    "afmoe": [
        r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
        "[一-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff"
        "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+",
        DEEPSEEK3,
    ],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama-bpe": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES],
    "qwen2": [QWEN2],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "qwen35": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + SPACES],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES],
    "minicpm5": [
        r"\p{N}{1,3}",
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES,
    ],
    "seed-coder": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + SPACES],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "gpt-4o": [GPT4O],
    "tekken": [f"{UPPER_LOWER}|{UPPER}" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES],
    "youtu": [
        "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + CJK,
        f"{UPPER_LOWER}{CONTRACTIONS}?|{UPPER}{CONTRACTIONS}?" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES,
    ],
    "deepseek-v3": [r"\p{N}{1,3}", CJK, DEEPSEEK3],
    "spark2_5": [r"\p{N}{1,3}", CJK, PUNCTUATED + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_HANGUL, r"\p{N}"],
    "deepseek-llm": [
        "[\r\n]",
        rf"\s?[{DEEPSEEK_LETTERS}]+",
        r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
        r"\s+$",
        CJK_HANGUL,
        r"\p{N}+",
    ],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
}

TEXTS = [
    "Hello, world! It's 2024; they'll say WE'VE don'T 'S 'ſ'",
    "  leading, trailing  \t \n\n mixed \r\n\r\n ends   ",
    "1 12 123 1234 12345678 3.14159 ١٢٣٤ ²³ ½ Ⅷ １２３４ ๑๒",
    "中文字符，标点。「引号」混合English和123数字、ひらがなカタカナー゙한국어ㄱㅏ",
    "naïve café e\u0301a\u0301 हिन्दी ব্যঞ্জন ไทยไทย עִבְרִית العربية، ۔।",
    "ABCdefGHIjkl camelCase HTTPServer XMLHttp McDonald's ǅungla ʰᵃ ªº",
    "if (x<=y && z!=0) { return a->b[i]; } // $+<=>^~|` \\ @#%&*_-",
    "/path/to//file/\n//comment/\n\t\tindent    four     five\n",
    "😀👍🏽🏳️‍🌈 \u200b\u200d\ufeff\u00a0nbsp\u2003em\u3000ideographic\u2028line\u0085next",
    "\x01\x1b\x1c\x1f\x7f\u0378\ue000\U0003fffd €£™°©→∑",
    "   a    b\t\tc \n d\n \n  e \r f\r\r g",
    "𝐀𝟘𐐀𞤀𠀀 Ａａ！．／：～“”‘’—…（）",
    "''' ''s ''ll 'LL 'Re 'vE 'M 'D' 'x it''s",
    "#!/usr/bin\n\n\n???!!!...\r\n,,, ;;\n/\n// ",
    " a 1 . 中 \n b2.c3,d4 5e 6\u03016 \u0301x",
    "1 22 333 4444 55555 666666 7777777a 88888888_ 9999\u0301 1234½567 ½1234 ٠١٢٣٤٥٦ 12345-6789012",
    "<sentinel:12><sentinel:x>IMGIMGABCDZIMGIMGABCDEZ IMGIMGZ\t\t   \n     x",
    "a b c\u0301 d  e f1 g. h\u0301\u0301i  나 는 " + "j" + " " * 1100 + "k" + " " * 700 + "\n" + " " * 31,
    "中文ABC中文abc 々〇〡 ⺀⼀、㐀𠀀𰀀中1中.中's ＡＢ中ｃｄ",
]

PARTS = [
    *"aAbBsStTrReEvVmMlLdDzZ0199''' \n\r\t.,!?$+<=>^~|`\"()[]{}/\\-_:;#%&*@",
    *"éßÀµſKǅʰªº中文漢あアー゙가ㄱㅏ한ѐЖωא اۛ،।हि्๑๒٣¼½ⅧⅫ③²€£™°©→\u00a0\u2003\u3000\u2028\u0085\u200b\u0301\u20dd",
    *"😀👍🏽𝐀𝟘𐐀𠀀！，。「」…—“”‘’～０９Ａａ𞤀\x01\x1c\x7f\u0378\ue000",
    "  ", "   ", "'s", "'S", "'ll", "'LL", "'re", "n't", "\r\n", "\n\n\n", "123", "1234567", "Hello", " world",
    "HELLO", "///\n",
]  # fmt: skip


def lengths(name: str, text: str) -> list[int]:
    steps = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in EXPRESSIONS[name]]
    return [len(word.encode()) for word, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)]


def literal(text: str) -> str:
    plain = '" \\?'
    return "".join(
        chr(b) if 32 <= b < 127 and chr(b) not in plain[0] + plain[2:] else f"\\{b:03o}" for b in text.encode()
    )


def main() -> None:
    rng = random.Random(1)
    texts = TEXTS + ["".join(rng.choice(PARTS) for _ in range(100)) for _ in range(10)]
    lines = ["// Written by tests/golden/pretokenizer_splits.py; do not edit.", "const char* const texts[] = {"]
    lines += [f'    "{literal(text)}",' for text in texts]
    lines += ["};", "const Split splits[] = {"]
    for name in EXPRESSIONS:
        for i, text in enumerate(texts):
            lines.append(f'    {{"{name}", {i}, "{" ".join(map(str, lengths(name, text)))}"}},')
    TARGET.write_text("\n".join([*lines, "};"]) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
