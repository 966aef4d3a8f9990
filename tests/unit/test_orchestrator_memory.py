"""The allocator of an orchestrator worker; what it is worth, two hundred requests at once show."""

import platform
import subprocess
import sys


def test_glibc_takes_the_settings_and_no_other_allocator_is_harmed() -> None:
    asked = "from fanscribe_orchestrator.memory import keep_memory_flat; print(keep_memory_flat())"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
