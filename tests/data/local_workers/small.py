"""A worker without the SDK: the protocol in a few lines, so that a test can start many of them cheaply.

It leaves a child behind as the SDK's heartbeat does, and answers each job with its own process id.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

worker = os.environ["RUNPOD_POD_ID"]
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(300)"])

if os.environ.get("TEST_SAY"):
    print(os.environ["TEST_SAY"], "ready", sep="\n", flush=True)

if os.environ.get("TEST_FAIL"):
    sys.exit(f"died with {os.environ['TOKEN']}")

if os.environ.get("TEST_ESCAPE"):
    # A child that leaves the worker's process group, as a daemon does.
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(300)"], start_new_session=True)


def call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": os.environ["RUNPOD_AI_API_KEY"]})
    with urllib.request.urlopen(request, timeout=90) as response:
        text = response.read()
    return json.loads(text) if text else None


busy = 0
while True:
    try:
        job = call(os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", worker) + f"&job_in_progress={busy}")
        if job is None:
            continue
        asked = job["input"] if isinstance(job["input"], dict) else {}
        if "hold_mib" in asked:
            held = b"x" * (asked["hold_mib"] * 1024 * 1024)
        time.sleep(asked.get("sleep_s", 0))
        done = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", worker)
        call(done.replace("$ID", job["id"]), {"output": {"pid": os.getpid(), "home": os.environ["HOME"]}})
    except urllib.error.HTTPError:
        time.sleep(0.05)
