"""Whatever is kept comes back whole, and nothing else does."""

import hashlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fanscribe.media.flac import pcm16
from fanscribe.results import cuts_key
from fanscribe.results.envelope import DamagedError, pack, unpack

KEY = "task/" + "0" * 64
any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates too: JSON lets them through
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), json_values, max_size=5)


@given(objects)
def test_a_value_comes_back(value: dict[str, Any]) -> None:
    assert unpack(KEY, pack(KEY, value)) == value


@given(objects, st.data())
def test_no_change_of_the_bytes_goes_unnoticed(value: dict[str, Any], data: st.DataObject) -> None:
    packed = bytearray(pack(KEY, value))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    try:
        unpack(KEY, bytes(packed))
    except DamagedError:
        return
    raise AssertionError("a damaged value was taken for whole")


@given(st.binary(max_size=300))
def test_strange_bytes_are_damage_and_nothing_worse(data: bytes) -> None:
    try:
        unpack(KEY, data)
    except DamagedError:
        return
    raise AssertionError("strange bytes were taken for a value")


@given(st.lists(st.integers(0, 400), max_size=6))
def test_blocks_do_not_change_the_digest_of_a_span(cuts: list[int]) -> None:
    samples = np.random.default_rng(3).uniform(-1, 1, 400).astype(np.float32)
    whole, pieces = hashlib.sha256(pcm16(samples).tobytes()), hashlib.sha256()
    for piece in np.split(samples, sorted(cuts)):
        pieces.update(pcm16(piece).tobytes())
    assert whole.hexdigest() == pieces.hexdigest()


@given(st.dictionaries(st.text(), st.integers() | st.text(), max_size=6))
def test_the_order_of_fields_does_not_change_a_key(request: dict[str, Any]) -> None:
    backwards = dict(reversed(list(request.items())))
    assert cuts_key("a" * 64, request) == cuts_key("a" * 64, backwards)
