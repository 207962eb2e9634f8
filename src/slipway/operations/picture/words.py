"""How wide text is, before anything draws it: the advance widths of Helvetica, which Arial and Liberation Sans share.

A viewer without any of them falls back to something wider, so every width counts a tenth more.
"""

from typing import Final

_NARROW: Final = {
    **dict.fromkeys("ijl'|", 222),
    **dict.fromkeys("ft.,:;/!I[]() \\·", 278),
    **dict.fromkeys("r-()`", 333),
    **dict.fromkeys("cksvxyzJ", 500),
    **dict.fromkeys("FTZ", 611),
    **dict.fromkeys("ABEKPSVXY&", 667),
    **dict.fromkeys("wCDHNRU", 722),
    **dict.fromkeys("GOQ", 778),
    **dict.fromkeys("mM", 833),
    **dict.fromkeys("W", 944),
    **dict.fromkeys("%", 889),
    **dict.fromkeys("→—@", 1015),
}
_OTHERS: Final = 584  # digits, most lower-case letters, signs
_SLACK: Final = 1.1
_BOLD: Final = 1.07


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Pixels of one line at a font size of `size` pixels."""
    units = sum(_NARROW.get(letter, _OTHERS) for letter in text)
    return units * size / 1000 * _SLACK * (_BOLD if bold else 1)


def wrapped(text: str, size: float, room: float) -> tuple[str, ...]:
    """`text` in lines that are no wider than `room`, broken between words; a word that is wider stands alone."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return tuple(lines)


def longest_word(text: str, size: float) -> float:
    """Pixels of the widest word: what a box must be wide for at least."""
    return max((width_of(word, size) for word in text.split()), default=0)
