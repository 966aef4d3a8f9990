import pytest

from fanscribe_handlers.align.characters import Characters, WrongVocabulary, placed, row
from fanscribe_handlers.align.timing import Placed
from fanscribe_handlers.align.trellis import TokenSpan

LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "E": 5, "T": 6, "A": 7, "'": 8}


def test_a_vocabulary_is_read_in_any_case() -> None:
    characters = Characters.of(LETTERS)
    assert (characters.blank, characters.delimiter) == (0, 4)
    assert characters.tokens_of("tea") == [6, 5, 7]
    assert characters.tokens_of("té'7") == [6, 5, 8]
    assert Characters.of({"<pad>": 1, "<blank>": 0, "a": 2}) == Characters({"a": 2}, 0, None)


@pytest.mark.parametrize("vocabulary", [{"a": 0}, {"<pad>": 0, "ab": 1}])
def test_a_vocabulary_of_no_use_is_refused(vocabulary: dict[str, int]) -> None:
    with pytest.raises(WrongVocabulary):
        Characters.of(vocabulary)


def test_words_are_parted_where_the_model_knows_how() -> None:
    made = row(Characters.of(LETTERS), [["tea"], ["7"], ["at", "ate"]])
    assert made.tokens == [6, 5, 7, 4, 7, 6, 4, 7, 6, 5]
    assert made.words == [range(0, 3), range(0), range(4, 10)]
    plain = Characters.of({"<blank>": 0, "a": 1})
    assert row(plain, [["a"], [], ["a"]]).tokens == [1, 1]


def test_a_words_time_runs_from_its_first_to_its_last_token() -> None:
    made = row(Characters.of(LETTERS), [["tea"], ["7"], ["a"]])
    spans = [
        TokenSpan(10, 11, 0.5),
        TokenSpan(12, 15, 0.9),
        TokenSpan(15, 16, 0.5),
        TokenSpan(20, 21, 0.1),
        TokenSpan(30, 32, 0.8),
    ]
    assert placed(made, spans, 0.02, 1.0) == [Placed(1.2, 1.32, 0.74), None, Placed(1.6, 1.64, 0.8)]
