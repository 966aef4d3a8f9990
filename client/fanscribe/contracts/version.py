"""The version of the wire contract.

A worker refuses a request whose *major* number it does not know; minor numbers only add optional fields.
"""

CONTRACT_VERSION = "1.0"


def major(version: str) -> str:
    """The part of a contract version that must match on both sides."""
    return version.split(".", 1)[0]
