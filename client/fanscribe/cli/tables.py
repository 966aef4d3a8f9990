"""Plans and reports as text."""

from typing import Any


def plan_table(name: str, plan: dict[str, Any]) -> str:
    """A plan (see `fanscribe.pipeline.description.describe`) in a few lines."""
    length = "of unknown length" if plan["duration_s"] is None else f"{plan['duration_s']:.1f} s"
    if plan["duration_s"] is not None and not plan["duration_exact"]:
        length = f"about {length}"
    lines = [f"{name}: {length}, {plan['channels']} channel{'s' * (plan['channels'] != 1)}", "prepare"]
    for node in plan["stages"]:
        if "aligners" in node:
            lines.append(
                f"  → {node['id']}: each chunk when it is transcribed, on {', '.join(node['aligners'])}"
            )
        if "endpoint" not in node:
            continue
        low, high = node["chunk_s"]
        chunks = f"{node['chunks']} chunks of {low:g} to {high:g} s" if node["chunks"] > 1 else "one piece"
        line = f"  → {node['id']}: {node['variant']} on {node['endpoint']}, {chunks}, audio {node['audio']}, "
        line += f"{node['workers']} workers ({node['warm_workers']} warm)"
        if node["fallbacks"]:
            line += f", else {', '.join(node['fallbacks'])}"
        lines.append(line)
        lines.append(
            f"      {node['predicted_s']:.1f} s, {node['paid_s']} paid worker seconds, "
            f"{_dollars(node['predicted_usd'])}"
        )
    lines.append("  → merge")
    lines.append(
        f"predicted: {plan['predicted_s']:.1f} s, {_dollars(plan['predicted_usd'])} ({plan['optimize']})"
    )
    return "\n".join(lines)


def report_table(name: str, report: dict[str, Any]) -> str:
    """A report (see `fanscribe.pipeline.description.report`) as text: predicted beside actual seconds."""
    lines = [f"{name}: {report['duration_s']:.1f} s of audio, {_dollars(report['cost_usd'] or None)}"]
    for stage in report["stages"]:
        about = [f"{stage['tasks']} tasks", f"{stage['jobs']} jobs"]
        for count in ("reused", "hedges", "failed", "unconfirmed"):
            if stage[count]:
                about.append(f"{stage[count]} {count}")
        if stage["cold_starts"]:
            about.append(f"{stage['cold_starts']} cold starts")
        lines.append(f"  {stage['stage']} ({', '.join(stage['variants'])}): {', '.join(about)}")
        for label, times in (("actual", stage["actual"]), ("predicted", stage["predicted"])):
            shown = (f"{what} {seconds:.1f}" for what, seconds in times.items())
            lines.append(f"    {label:<9} {'  '.join(shown)}  (worker seconds)")
    return "\n".join(lines)


def _dollars(amount: float | None) -> str:
    return "price not known" if amount is None else f"${amount:.4f}"
