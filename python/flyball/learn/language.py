"""Which language a short text is in, of two: by its small words, and by the letters that only Turkish has."""

from __future__ import annotations

import re

_WORDS = {
    "tr": """acaba ama ancak bana bazı bazen belki ben beni benim bile bir biraz biri biz bizim bu buna bunu burada
        böyle çok çünkü da daha dan de değil den diye dolayı en evet gibi göre hangi hayır hem hep her hiç için içinde
        ile ise ister işte kadar kaç kendi ki kim merhaba mi mu mü mı nasıl ne neden nedir nerede niçin o olan olarak
        oldu olur ona onlar onu onun orada önce pek sana sen senin siz sizin sonra şey şimdi şu tüm üzere var ve veya
        ya yani yok""",
    "en": """a about after all also am an and any are as at be because been but by can could did do does for from get
        had has have he her here him his how i if in into is it its just like me more most my no not now of on one or
        other our out over she so some than that the their them then there these they this to too up us was we well
        were what when where which who why will with would you your""",
}
_SMALL = {language: frozenset(" ".join(words.split()).split(" ")) for language, words in _WORDS.items()}
_TURKISH_LETTERS = frozenset("çğışöüÇĞİŞÖÜ")
LANGUAGES = tuple(_SMALL)


def share(text: str, language: str) -> float:
    """The part of the words that tell a language which tell this one; 0 where none tells any."""
    told = dict.fromkeys(LANGUAGES, 0)
    for word in re.findall(r"[^\W\d_]+", text):
        small = word.replace("İ", "i").replace("I", "ı" if _TURKISH_LETTERS & set(text) else "i").lower()
        if small in _SMALL["tr"] or _TURKISH_LETTERS & set(word):
            told["tr"] += 1
        if small in _SMALL["en"]:
            told["en"] += 1
    n = sum(told.values())
    return told[language] / n if n else 0.0
