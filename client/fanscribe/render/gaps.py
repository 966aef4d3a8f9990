"""Gaps and times in the words of people."""

from fanscribe.contracts.transcript import Gap


def clock(time_s: float) -> str:
    """Seconds as HH:MM:SS; hours may go beyond 99."""
    whole = int(max(time_s, 0.0))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def gap_text(gap: Gap) -> str:
    """One line that says which span is missing and why."""
    reason = " ".join(f"{gap.stage}: {gap.reason}".split())
    return f"[gap {clock(gap.start)}-{clock(gap.end)}: {reason}]"
