"""Chinese text into the tokens of the search index: words, and pairs of characters.

Words carry the meaning; pairs still meet when a word is unknown, cut differently or mistyped.
The same functions cut what is indexed and what is asked.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import rjieba

LONGEST = 200
_KEEP = re.compile(r"[0-9a-z\u3400-\u9fff]+")
_ASKING = re.compile(
    "我想|我要|我们|请问|怎么办|怎么|怎样|如何|什么|哪里|哪儿|哪些|需要|应该|可以|能不能|一下|一个|"
    "帮我|给我|刚刚|刚|要办|想办|去办|的|了|吗|呢|呀|啊|我|你|他|她|想|请"
)
"""What people wrap around what they look for; it says nothing about the item."""


@lru_cache(maxsize=1)
def _jieba() -> rjieba.Jieba:
    cutter = rjieba.Jieba()
    known = Path(__file__).parent / "data" / "words.txt"
    for word in known.read_text(encoding="utf-8").split():
        cutter.add_word(word.lower(), 100_000, "n")
    return cutter


def normalised(text: str) -> str:
    """Full-width to half-width, lower case, only letters, digits and Chinese; runs parted by a
    space."""
    flat = unicodedata.normalize("NFKC", text[:LONGEST]).lower()
    return " ".join(_KEEP.findall(flat))


def asked(query: str) -> str:
    """The normalised query without the words of asking; unchanged when nothing else is in it."""
    flat = normalised(query)
    bare = " ".join(_ASKING.sub(" ", flat).split())
    return bare or flat


def words(normal: str) -> list[str]:
    """The words of a normalised text, each once; single Chinese characters are left out."""
    cut = _jieba().cut_for_search(normal)
    return list(dict.fromkeys(w for w in cut if len(w) > 1 or (w.isascii() and w.isalnum())))


def grams(normal: str) -> list[str]:
    """The pairs of neighbouring characters of a normalised text, each once."""
    pairs = (run[i : i + 2] for run in normal.split() for i in range(len(run) - 1))
    return list(dict.fromkeys(pairs))
