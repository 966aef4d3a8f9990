"""How commands end that are told to."""

import os
import signal
import subprocess
import sys

import pytest

WAITING = """
import asyncio
from fanscribe.cli.exits import clear_errors
async def wait():
    try:
        print("ready", flush=True)
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0)
        print("cleaned up", flush=True)
with clear_errors():
    asyncio.run(wait())
"""


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
@pytest.mark.parametrize("ignored", [False, True], ids=["", "in the background of a script"])
def test_a_command_that_is_told_to_end_cleans_up_and_ends(by: signal.Signals, ignored: bool) -> None:
    """A script's shell lets what it starts with & ignore SIGINT, which is our way out for the other signals too."""
    begin = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" if ignored else ""
    with subprocess.Popen(
        [sys.executable, "-c", begin + WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(by)
        try:
            out, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert out == "cleaned up\n"
    assert "interrupted; nothing is left running" in errors
