"""What is signed is taken by the example receiver as long as it is fresh, and nothing else is."""

from hypothesis import assume, given
from hypothesis import strategies as st
from tests import example_receiver

from fanscribe_orchestrator.notification import sign

RECEIVER = example_receiver.load()
TIMES = st.integers(0, 10**11)
SECRETS = st.binary(min_size=16, max_size=64)


@given(SECRETS, st.binary(), TIMES, st.integers(-RECEIVER.TOLERANCE_S, RECEIVER.TOLERANCE_S))
def test_a_fresh_signature_is_genuine(secret: bytes, body: bytes, sent: int, late_s: int) -> None:
    assert RECEIVER.genuine(secret, sign(secret, sent, body), body, sent + late_s)


@given(SECRETS, st.binary(), TIMES, st.integers(RECEIVER.TOLERANCE_S + 1), st.booleans())
def test_an_old_one_and_one_of_the_future_are_not(
    secret: bytes, body: bytes, sent: int, away_s: int, ahead: bool
) -> None:
    assert not RECEIVER.genuine(secret, sign(secret, sent, body), body, sent + (-away_s if ahead else away_s))


@given(SECRETS, SECRETS, st.binary(), st.binary(), TIMES, st.integers(-5, 5))
def test_any_other_secret_body_or_time_is_refused(
    secret: bytes, other: bytes, body: bytes, changed: bytes, sent: int, shift_s: int
) -> None:
    header = sign(secret, sent, body)
    # HMAC fills a key up with zero bytes.
    assume(secret.rstrip(b"\0") != other.rstrip(b"\0"))
    assert not RECEIVER.genuine(other, header, body, sent)
    assert RECEIVER.genuine(secret, header, changed, sent) == (changed == body)
    moved = header.replace(f"t={sent},", f"t={max(sent + shift_s, 0)},")
    assert RECEIVER.genuine(secret, moved, body, sent) == (moved == header)


@given(SECRETS, st.text(), st.binary(), TIMES)
def test_any_text_in_place_of_a_signature_is_refused_in_peace(
    secret: bytes, header: str, body: bytes, now: int
) -> None:
    assert not RECEIVER.genuine(secret, header, body, now)
