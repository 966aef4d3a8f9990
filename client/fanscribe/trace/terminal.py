"""A waterfall of characters. Pure: text with the paint of each stretch, which the command line colours."""

from collections.abc import Iterator, Sequence

from fanscribe.trace.rows import Paint, Piece, Row

GLYPHS = {
    Paint.QUEUE: "·",
    Paint.START: "░",
    Paint.LOADING: "▒",
    Paint.LOAD: "▓",
    Paint.INFERENCE: "█",
    Paint.TRANSFER: "~",
    Paint.WORK: "?",
    Paint.STEP: "=",
    Paint.SPAN: "╌",
}
"""Every paint has a character of its own, so that the drawing is read without colours, too."""


def bar(row: Row, total_s: float, width: int) -> Iterator[tuple[Paint | None, str]]:
    """The bar of a row, `width` characters for `total_s` seconds, as runs of one paint; None is empty space.

    A cell shows what fills most of it. A row that is shorter than a cell still shows one character.
    """
    cells = [_cell(row.pieces, index, total_s, width) for index in range(width)]
    if not any(cells) and row.pieces:
        longest = max(row.pieces, key=lambda each: each.end_s - each.start_s)
        at = 0 if total_s <= 0 else int(longest.start_s / total_s * width)
        cells[min(at, width - 1)] = longest.paint
    begin = 0
    for index in range(1, width + 1):
        if index == width or cells[index] is not cells[begin]:
            paint = cells[begin]
            yield paint, (GLYPHS[paint] if paint else " ") * (index - begin)
            begin = index


def _cell(pieces: Sequence[Piece], index: int, total_s: float, width: int) -> Paint | None:
    if total_s <= 0:
        return None
    low, high = index * total_s / width, (index + 1) * total_s / width
    covered: dict[Paint, float] = {}
    for each in pieces:
        seconds = min(each.end_s, high) - max(each.start_s, low)
        if seconds > 0:
            covered[each.paint] = covered.get(each.paint, 0.0) + seconds
    empty_s = (high - low) - sum(covered.values())
    best = max(covered, key=covered.__getitem__, default=None)
    return best if best is not None and covered[best] >= empty_s else None
