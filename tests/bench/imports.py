"""What it costs to import fanscribe and to show its help, against importing the SDK: whole processes."""

import subprocess
import sys
from pathlib import Path

from tests.bench.timing import Row, in_turn


def imports(runs: int) -> list[Row]:
    """Ratios of medians; every process is started anew and they take turns."""
    command = Path(sys.executable).with_name("fanscribe")
    processes: dict[str, list[str]] = {
        "import fanscribe": [sys.executable, "-c", "import fanscribe"],
        "fanscribe --help": [str(command), "--help"],
        "import runpod": [sys.executable, "-c", "import runpod"],
    }

    def start(arguments: list[str]) -> None:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

    for arguments in processes.values():
        start(arguments)  # byte code and disk cache
    medians = in_turn({name: lambda a=each: start(a) for name, each in processes.items()}, runs)  # type: ignore[misc]
    sdk = medians["import runpod"]
    return [
        Row(
            f"{name} / import runpod", medians[name] / sdk, 0.25, f"{medians[name]:.2f} s against {sdk:.2f} s"
        )
        for name in ("import fanscribe", "fanscribe --help")
    ]
