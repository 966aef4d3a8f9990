"""What a second of a serverless worker costs, by GPU pool."""

PRICES_AS_OF = "2026-06-08"
"""The date of Runpod's published table of flex prices that the figures are from."""

FLEX_USD_PER_S: dict[str, float] = {
    "AMPERE_16": 0.00016,
    "AMPERE_24": 0.00019,
    "ADA_24": 0.00031,
    "AMPERE_48": 0.00034,
    "ADA_48_PRO": 0.00053,
    "AMPERE_80": 0.00076,
    "ADA_80_PRO": 0.00116,
    "BLACKWELL_96": 0.00111,
    "HOPPER_141": 0.00155,
    "BLACKWELL_180": 0.00240,
}
"""US dollars for each second from a flex worker's start to its stop. The table has no figure for ADA_32_PRO
(RTX 5090), nor for CPU workers."""


def price_per_s(pool: str) -> float | None:
    """US dollars for a second of a worker in this pool, in either case of letters; None where it is unknown."""
    return FLEX_USD_PER_S.get(pool.upper())
