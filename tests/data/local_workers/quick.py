"""A worker without the SDK on one kept connection, so that a load test measures the platform and not its workers."""

import http.client
import os
import urllib.parse

key = {"Authorization": os.environ["RUNPOD_AI_API_KEY"], "Content-Type": "application/json"}
worker = os.environ["RUNPOD_POD_ID"]
take = urllib.parse.urlsplit(os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", worker))
done = urllib.parse.urlsplit(os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", worker))
connection = http.client.HTTPConnection(take.netloc, timeout=90)


def call(method: str, path: str, body: bytes | None = None) -> bytes:
    connection.request(method, path, body, key)
    return connection.getresponse().read()


while True:
    text = call("GET", f"{take.path}?{take.query}&job_in_progress=0")
    if text:
        job_id = text.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode()
        call("POST", f"{done.path.replace('$ID', job_id)}?{done.query}", b'{"output": "echo"}')
