"""The local platform's HTTP, call by call, with the test itself as the worker."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fanscribe.local.process import RunningPlatform, start
from fanscribe.local.spec import EndpointSpec

MB = 1024 * 1024
SMALL = Path(__file__).resolve().parent.parent / "data" / "local_workers" / "small.py"


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    with start([EndpointSpec(name) for name in ("e", "retried", "purged", "faulty", "limited")]) as running:
        yield running


@pytest.fixture(scope="module")
def http(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=platform.url, headers={"Authorization": f"Bearer {platform.key}"}, timeout=40
    ) as each:
        yield each


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def submit(http: httpx2.Client, name: str = "e", asked: Any = None, **more: Any) -> str:
    answer = http.post(f"/v2/{name}/run", json={"input": asked or {}, **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "IN_QUEUE"
    job_id: str = answer.json()["id"]
    return job_id


def take(http: httpx2.Client, worker: str, name: str = "e", busy: int = 1) -> Any:
    answer = http.get(f"/v2/{name}/job-take/{worker}?gpu=x&job_in_progress={busy}")
    assert answer.status_code in (200, 204)
    return answer.json() if answer.content else None


def done(http: httpx2.Client, worker: str, job_id: str, body: Any, name: str = "e") -> httpx2.Response:
    # As the SDK sends it: JSON under a form's content type.
    return http.post(
        f"/v2/{name}/job-done/{worker}/{job_id}?gpu=x&isStream=false",
        content=json.dumps(body),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )


def status(http: httpx2.Client, job_id: str, name: str = "e") -> dict[str, Any]:
    body: dict[str, Any] = http.get(f"/v2/{name}/status/{job_id}").json()
    return body


def until(found: Callable[[], Any], limit_s: float = 10.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
    return value


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "input"),
        (b"{}", "input"),
        (b'{"input": NaN}', "NaN"),
        (b'{"input": {}, "webhook": "ftp://x"}', "webhook"),
        (b'{"input": {}, "policy": []}', "policy"),
        (b'{"input": {}, "policy": {"executionTimeout": 10}}', "policy.executionTimeout"),
        (b'{"input": {}, "policy": {"ttl": "soon"}}', "policy.ttl"),
        (b'{"input": {}, "policy": {"ttl": 1' + b"0" * 400 + b"}}", "policy.ttl"),
        (b'{"input": ' + b"[" * 100_000 + b"}", "not valid JSON"),
    ],
)
def test_a_bad_request_is_400_and_says_what_is_wrong(http: httpx2.Client, content: bytes, word: str) -> None:
    answer = http.post("/v2/e/run", content=content)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_a_wait_that_is_no_number_is_400(http: httpx2.Client) -> None:
    for given in ("²", "-1", "1" * 10, "1" * 5000, "soon"):
        answer = http.post("/v2/e/runsync", params={"wait": given}, json={"input": {}})
        assert answer.status_code == 400
        assert "wait must be" in answer.json()["error"]
    assert http.get("/v2/e/job-take-batch/w1", params={"batch_size": "²"}).status_code == 400


def test_unknown_things_are_404(http: httpx2.Client) -> None:
    for method, path in (("POST", "/v2/x/run"), ("GET", "/v2/e/status/x"), ("POST", "/v2/e/cancel/x")):
        answer = http.request(method, path, json={"input": {}})
        assert answer.status_code == 404
        assert answer.json()["error"]
    assert http.get("/nowhere").status_code == 404


def test_the_key_is_needed_with_or_without_bearer(http: httpx2.Client, platform: RunningPlatform) -> None:
    for given, code in ((platform.key, 200), (f"bearer {platform.key}", 200), ("", 401), ("Bearer x", 401)):
        assert httpx2.get(f"{platform.url}/v2/e/health", headers={"Authorization": given}).status_code == code
    assert httpx2.get(f"{platform.url}/v2/e/job-take/w").status_code == 401
    assert httpx2.get(f"{platform.url}/local/status").status_code == 401
    assert httpx2.put(f"{platform.url}/objects", content=b"x").status_code == 401
    assert httpx2.get(f"{platform.url}/ping").status_code == 200


@pytest.mark.parametrize(("path", "limit"), [("run", 10 * MB), ("runsync?wait=1000", 20 * MB)])
def test_bodies_over_the_limit_are_refused(http: httpx2.Client, path: str, limit: int) -> None:
    frame = len(b'{"input":""}')
    fits = http.post(f"/v2/e/{path}", content=b'{"input":"' + b"x" * (limit - frame) + b'"}')
    assert fits.status_code == 200
    http.post(f"/v2/e/cancel/{fits.json()['id']}")
    over = http.post(f"/v2/e/{path}", content=b'{"input":"' + b"x" * (limit - frame + 1) + b'"}')
    assert over.status_code == 413

    def chunked() -> Iterator[bytes]:
        for _ in range(limit // MB + 1):
            yield b"x" * MB

    assert http.post(f"/v2/e/{path}", content=chunked()).status_code == 413


def test_a_held_request_for_jobs_is_answered_the_moment_there_is_one(
    http: httpx2.Client, threads: ThreadPoolExecutor
) -> None:
    held = threads.submit(take, http, "w1")
    time.sleep(0.3)
    began = time.monotonic()
    job_id = submit(http, asked={"a": 1}, s3Config={"bucketName": "b"})
    job = held.result(5)
    assert time.monotonic() - began < 0.2
    assert (job["id"], job["input"], job["s3Config"], job["retries"]) == (
        job_id,
        {"a": 1},
        {"bucketName": "b"},
        0,
    )
    assert status(http, job_id)["workerId"] == "w1"
    assert done(http, "w1", job_id, {"output": {"b": 2}}).status_code == 200
    body = status(http, job_id)
    assert (body["status"], body["output"]) == ("COMPLETED", {"b": 2})
    assert {"delayTime", "executionTime"} <= set(body)


def test_runsync_gives_up_waiting_but_not_the_job(http: httpx2.Client) -> None:
    began = time.monotonic()
    body = http.post("/v2/e/runsync?wait=1000", json={"input": {}}).json()
    assert 0.9 < time.monotonic() - began < 3
    assert body["status"] == "IN_QUEUE"
    assert take(http, "w1")["id"] == body["id"]
    done(http, "w1", body["id"], {"output": 1})
    assert http.get(f"/v2/e/status-sync/{body['id']}?wait=1000").json()["output"] == 1


def test_runsync_and_status_sync_wait_past_streamed_parts_for_the_end(
    http: httpx2.Client, threads: ThreadPoolExecutor
) -> None:
    sync = threads.submit(http.post, "/v2/e/runsync", json={"input": {}})
    job_id = take(http, "w1")["id"]
    status_sync = threads.submit(http.get, f"/v2/e/status-sync/{job_id}")
    for part in (1, 2):
        time.sleep(0.2)
        http.post(f"/v2/e/job-stream/w1/{job_id}?gpu=x", content=json.dumps({"output": part}))
    time.sleep(0.2)
    assert not sync.done()
    assert not status_sync.done()
    done(http, "w1", job_id, {"output": "all"})
    for held in (sync, status_sync):
        body = held.result(5).json()
        assert (body["status"], body["output"]) == ("COMPLETED", "all")


def test_a_job_that_expires_ends_the_wait_for_it(http: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    job_id = submit(http, policy={"ttl": 10_000})
    began = time.monotonic()
    held = threads.submit(http.get, f"/v2/e/status-sync/{job_id}?wait=30000")
    assert held.result(20).status_code == 404
    assert time.monotonic() - began < 13


def test_a_batch_of_jobs_is_a_list(http: httpx2.Client) -> None:
    ids = [submit(http) for _ in range(3)]
    jobs = http.get("/v2/e/job-take-batch/w1?gpu=x&batch_size=5&job_in_progress=0").json()
    assert [job["id"] for job in jobs] == ids
    for job_id in ids:
        done(http, "w1", job_id, {})
    assert {status(http, job_id)["status"] for job_id in ids} == {"COMPLETED"}
    assert "output" not in status(http, ids[0])
    assert http.get("/v2/e/job-take-batch/w1?gpu=x&batch_size=none").status_code == 400


def test_late_and_foreign_results_and_progress_change_nothing(http: httpx2.Client) -> None:
    job_id = submit(http)
    take(http, "w1")
    assert done(http, "stranger", job_id, {"output": "mine"}).status_code == 200
    done(http, "w1", job_id, {"status": "IN_PROGRESS", "output": 1})
    assert status(http, job_id)["output"] == 1
    done(http, "w1", job_id, {"output": 2})
    done(http, "w1", job_id, {"status": "IN_PROGRESS", "output": 3})
    done(http, "w1", job_id, {"output": 4})
    assert (status(http, job_id)["status"], status(http, job_id)["output"]) == ("COMPLETED", 2)


def test_a_cancelled_job_is_named_on_the_stop_channel(
    http: httpx2.Client, threads: ThreadPoolExecutor
) -> None:
    job_id = submit(http)
    take(http, "w1")
    held = threads.submit(http.get, "/v2/e/job-stop/w1?gpu=x")
    time.sleep(0.2)
    assert http.post(f"/v2/e/cancel/{job_id}").json() == {"id": job_id, "status": "CANCELLED"}
    assert held.result(5).json() == {"jobsToStop": [job_id]}
    done(http, "w1", job_id, {"output": 1})
    body = status(http, job_id)
    assert body["status"] == "CANCELLED"
    assert "output" not in body
    assert http.post(f"/v2/e/cancel/{job_id}").json()["status"] == "CANCELLED"


def test_a_job_handed_to_a_connection_that_has_gone_is_not_lost(
    platform: RunningPlatform, http: httpx2.Client
) -> None:
    async def leave() -> None:
        async with httpx2.AsyncClient(headers={"Authorization": platform.key}) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(f"{platform.url}/v2/e/job-take/w1?gpu=x&job_in_progress=0", timeout=0.3)

    asyncio.run(leave())
    job_id = submit(http)
    assert status(http, job_id)["status"] == "IN_QUEUE"
    assert take(http, "w1", busy=0)["id"] == job_id
    done(http, "w1", job_id, {})


def test_a_worker_that_lost_a_job_says_so_by_asking_anew(http: httpx2.Client) -> None:
    job_id = submit(http)
    take(http, "w1", busy=0)
    again = take(http, "w1", busy=0)
    assert (again["id"], again["retries"]) == (job_id, 1)
    done(http, "w1", job_id, {})


def test_a_refused_result_fails_the_job(http: httpx2.Client) -> None:
    job_id = submit(http)
    take(http, "w1")
    answer = http.post(f"/v2/e/job-done/w1/{job_id}?gpu=x", content=b'"' + b"x" * 10 * MB + b'"')
    assert answer.status_code == 400
    body = status(http, job_id)
    assert body["status"] == "FAILED"
    assert "larger than 10 MB" in body["error"]


@pytest.mark.parametrize("body", [{"output": "x" * 5000}, {"status": "IN_PROGRESS", "output": "x" * 5000}])
def test_a_connection_lost_in_the_midst_of_a_result_leaves_the_job_running(
    http: httpx2.Client, platform: RunningPlatform, body: dict[str, str]
) -> None:
    job_id = submit(http)
    take(http, "w1")
    connection = HTTPConnection(platform.url.removeprefix("http://"), timeout=5)
    connection.putrequest("POST", f"/v2/e/job-done/w1/{job_id}?gpu=x")
    connection.putheader("Authorization", platform.key)
    content = json.dumps(body).encode()
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders(content[:3000])
    time.sleep(0.1)
    connection.close()
    time.sleep(0.2)
    assert status(http, job_id)["status"] == "IN_PROGRESS"
    done(http, "w1", job_id, {"output": 1})
    assert status(http, job_id)["output"] == 1


def test_streamed_parts_are_drained_once_and_wake_the_reader(
    http: httpx2.Client, threads: ThreadPoolExecutor
) -> None:
    job_id = submit(http)
    take(http, "w1")
    held = threads.submit(http.get, f"/v2/e/stream/{job_id}")
    time.sleep(0.2)
    for part in (1, 2):
        http.post(f"/v2/e/job-stream/w1/{job_id}?gpu=x&isStream=false", content=json.dumps({"output": part}))
    first = held.result(5).json()
    assert first["status"] == "IN_PROGRESS"
    rest = http.post(f"/v2/e/stream/{job_id}?wait=1000").json()
    assert [part["output"] for part in first["stream"] + rest["stream"]] == [1, 2]
    done(http, "w1", job_id, {"output": []})
    assert http.get(f"/v2/e/stream/{job_id}").json() == {"id": job_id, "status": "COMPLETED", "stream": []}


def test_retry_runs_a_failed_job_again_and_no_other(http: httpx2.Client) -> None:
    job_id = submit(http, "retried", {"a": 1})
    assert http.post(f"/v2/retried/retry/{job_id}").status_code == 400
    take(http, "w", "retried")
    done(http, "w", job_id, {"error": "no"}, "retried")
    assert status(http, job_id, "retried")["error"] == "no"
    assert http.post(f"/v2/retried/retry/{job_id}").json() == {"id": job_id, "status": "IN_QUEUE"}
    assert take(http, "w", "retried")["input"] == {"a": 1}
    done(http, "w", job_id, {"output": "yes"}, "retried")
    body = status(http, job_id, "retried")
    assert body["output"] == "yes"
    assert "error" not in body


def test_purge_drops_what_waits_and_is_limited_to_two_in_ten_seconds(http: httpx2.Client) -> None:
    running = submit(http, "purged")
    take(http, "w", "purged")
    waiting = [submit(http, "purged") for _ in range(2)]
    assert http.post("/v2/purged/purge-queue").json() == {"removed": 2, "status": "completed"}
    assert {status(http, job_id, "purged")["status"] for job_id in waiting} == {"CANCELLED"}
    assert status(http, running, "purged")["status"] == "IN_PROGRESS"
    assert http.post("/v2/purged/purge-queue").status_code == 200
    refused = http.post("/v2/purged/purge-queue")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1


class Receiver(BaseHTTPRequestHandler):
    """A webhook's other end; answers with the codes it is given, 200 when there are none left."""

    codes: list[int]
    bodies: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.codes.pop(0) if self.codes else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    kind = type("OneReceiver", (Receiver,), {"codes": [], "bodies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", kind
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("result", "word"),
    [({"output": {"x": 1}}, "COMPLETED"), ({"error": "no"}, "FAILED"), (None, "CANCELLED")],
)
def test_the_webhook_gets_the_job_with_its_input(
    http: httpx2.Client, receiver: tuple[str, type[Receiver]], result: Any, word: str
) -> None:
    url, kind = receiver
    job_id = submit(http, asked={"a": 1}, webhook=url)
    if result is None:
        http.post(f"/v2/e/cancel/{job_id}")
    else:
        take(http, "w1")
        done(http, "w1", job_id, result)
    until(lambda: kind.bodies)
    (body,) = kind.bodies
    assert (body["id"], body["status"], body["input"], body["webhook"]) == (job_id, word, {"a": 1}, url)
    assert body.get("output") == (result or {}).get("output")
    assert body.get("error") == (result or {}).get("error")


def test_objects_are_stored_read_in_part_and_deleted(http: httpx2.Client, platform: RunningPlatform) -> None:
    content = bytes(range(256)) * 40_000
    before = time.time()
    put = http.put("/objects", content=content)
    assert put.status_code == 201
    kept = put.json()
    assert kept["size"] == len(content)
    assert kept["expires_at"] > before + 3600
    assert httpx2.get(kept["url"]).content == content
    part = httpx2.get(kept["url"], headers={"Range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, bytes(range(256)))
    assert httpx2.head(kept["url"]).headers["Content-Length"] == str(len(content))
    assert httpx2.delete(kept["url"]).status_code == 401
    assert http.delete(kept["url"]).status_code == 204
    assert httpx2.get(kept["url"]).status_code == 404


def test_an_object_over_the_limit_is_refused_before_its_body(platform: RunningPlatform) -> None:
    connection = HTTPConnection(platform.url.removeprefix("http://"), timeout=5)
    connection.putrequest("PUT", "/objects")
    connection.putheader("Authorization", platform.key)
    connection.putheader("Content-Length", str(10**13))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "at most" in json.loads(answer.read())["error"]
    connection.close()


def test_the_page_and_the_metrics(http: httpx2.Client, platform: RunningPlatform) -> None:
    page = httpx2.get(platform.url)
    assert page.status_code == 200
    assert "/local/status" in page.text
    assert platform.key not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    text = http.get("/metrics").text
    assert 'fanscribe_local_jobs_total{endpoint="e",event="completed"}' in text
    for line in text.splitlines():
        assert line.startswith(("#", "fanscribe_local_"))
        if not line.startswith("#"):
            float(line.rpartition(" ")[2])


def test_an_external_worker_shows_in_status(http: httpx2.Client, platform: RunningPlatform) -> None:
    http.get("/v2/e/ping/w1?gpu=x&job_id=")
    workers = {each["id"]: each for each in platform.status()["endpoints"][0]["workers"]}
    assert workers["w1"]["external"] is True
    assert workers["w1"]["pid"] is None


def fault(http: httpx2.Client, *rules: dict[str, Any]) -> None:
    answer = http.put("/local/faults", json=[{"endpoint": "faulty", **each} for each in rules])
    assert answer.status_code == 200, answer.text


def test_faults_can_be_set_seen_and_taken_back(http: httpx2.Client, platform: RunningPlatform) -> None:
    fault(http, {"kind": "error", "status": 503, "times": 2})
    assert http.get("/v2/faulty/health").status_code == 503
    assert http.get("/v2/e/health").status_code == 200
    assert http.get("/v2/faulty/health").status_code == 503
    assert http.get("/v2/faulty/health").status_code == 200
    (shown,) = platform.status()["faults"]
    assert (shown["kind"], shown["hits"]) == ("error", 2)
    assert http.get("/local/faults").json() == [shown]
    assert 'fanscribe_local_fault_hits_total{rule="0",kind="error"} 2' in http.get("/metrics").text
    fault(http)
    assert http.get("/local/faults").json() == []
    assert http.put("/local/faults", json=[{"kind": []}]).status_code == 400
    wrong = http.put("/local/faults", json=[{"kind": "error", "rate": 2}])
    assert wrong.status_code == 400
    assert "rate must be 0 to 1" in wrong.json()["error"]


def test_an_error_fault_can_strike_workers_instead(http: httpx2.Client) -> None:
    fault(http, {"kind": "error", "status": 429, "calls": "worker", "times": 1})
    assert http.get("/v2/faulty/health").status_code == 200
    assert http.get("/v2/faulty/ping/w").status_code == 429


def test_a_lost_result_is_noticed_and_the_job_runs_again(http: httpx2.Client) -> None:
    fault(http, {"kind": "lost_result", "times": 1})
    job_id = submit(http, "faulty")
    take(http, "w", "faulty", busy=0)
    assert done(http, "w", job_id, {"output": 1}, "faulty").status_code == 200
    assert status(http, job_id, "faulty")["status"] == "IN_PROGRESS"
    assert take(http, "w", "faulty", busy=0)["retries"] == 1
    done(http, "w", job_id, {"output": 2}, "faulty")
    assert status(http, job_id, "faulty")["output"] == 2


def test_a_late_result_is_kept_unless_the_job_has_ended(http: httpx2.Client) -> None:
    fault(http, {"kind": "late_result", "seconds": 0.3, "times": 2})
    first, second = submit(http, "faulty"), submit(http, "faulty")
    take(http, "w", "faulty", busy=0)
    done(http, "w", first, {"output": "late"}, "faulty")
    assert status(http, first, "faulty")["status"] == "IN_PROGRESS"
    until(lambda: status(http, first, "faulty").get("output") == "late")
    take(http, "w", "faulty")
    done(http, "w", second, {"output": "too late"}, "faulty")
    http.post(f"/v2/faulty/cancel/{second}")
    time.sleep(0.5)
    assert (status(http, second, "faulty")["status"], status(http, second, "faulty").get("output")) == (
        "CANCELLED",
        None,
    )


def test_a_stuck_job_is_given_to_nobody_and_can_be_cancelled(http: httpx2.Client) -> None:
    fault(http, {"kind": "stuck_job", "times": 1})
    stuck, next_one = submit(http, "faulty"), submit(http, "faulty")
    assert take(http, "w", "faulty")["id"] == next_one
    done(http, "w", next_one, {"output": 1}, "faulty")
    assert status(http, stuck, "faulty")["status"] == "IN_QUEUE"
    http.post(f"/v2/faulty/cancel/{stuck}").raise_for_status()
    assert status(http, stuck, "faulty")["status"] == "CANCELLED"


def test_a_lost_job_is_not_known_any_more(http: httpx2.Client) -> None:
    fault(http, {"kind": "lost_job", "times": 1})
    lost, next_one = submit(http, "faulty"), submit(http, "faulty")
    assert http.get(f"/v2/faulty/status/{lost}").status_code == 404
    assert take(http, "w", "faulty")["id"] == next_one
    done(http, "w", next_one, {"output": 1}, "faulty")


def test_an_error_may_strike_one_operation_only(http: httpx2.Client) -> None:
    fault(http, {"kind": "error", "status": 500, "operation": "run", "times": 1})
    assert http.get("/v2/faulty/health").status_code == 200
    assert http.post("/v2/faulty/run", json={"input": 1}).status_code == 500
    job_id = submit(http, "faulty")
    fault(http, {"kind": "error", "status": 503, "operation": "status", "times": 1})
    assert http.get(f"/v2/faulty/status/{job_id}").status_code == 503
    http.post(f"/v2/faulty/cancel/{job_id}").raise_for_status()


def test_a_duplicate_result_counts_once(http: httpx2.Client) -> None:
    fault(http, {"kind": "duplicate_result"})
    before = http.get("/v2/faulty/health").json()["jobs"]["completed"]
    job_id = submit(http, "faulty")
    take(http, "w", "faulty")
    done(http, "w", job_id, {"output": 1}, "faulty")
    assert http.get("/v2/faulty/health").json()["jobs"]["completed"] == before + 1
    assert status(http, job_id, "faulty")["output"] == 1


def test_a_slow_worker_holds_its_result_back(http: httpx2.Client) -> None:
    fault(http, {"kind": "slow_worker", "seconds": 0.4})
    job_id = submit(http, "faulty")
    take(http, "w", "faulty")
    began = time.monotonic()
    done(http, "w", job_id, {"output": 1}, "faulty")
    assert time.monotonic() - began >= 0.4
    assert status(http, job_id, "faulty")["executionTime"] >= 400


def test_a_restart_loses_no_job(http: httpx2.Client, platform: RunningPlatform) -> None:
    finished, running = submit(http, "faulty"), submit(http, "faulty")
    assert take(http, "w", "faulty", busy=1)["id"] == finished
    done(http, "w", finished, {"output": 1}, "faulty")
    assert take(http, "w", "faulty", busy=1)["id"] == running
    fault(http, {"kind": "restart", "seconds": 0.5, "times": 1})
    waiting = submit(http, "faulty")
    answer = http.get(f"/v2/faulty/status/{running}")
    assert answer.status_code == 502
    until(lambda: http.get("/v2/faulty/health").status_code == 200)
    assert status(http, finished, "faulty")["output"] == 1
    assert status(http, running, "faulty")["status"] == "IN_QUEUE"
    done(http, "w", running, {"output": "of an earlier life"}, "faulty")
    assert [take(http, "w", "faulty", busy=1)["id"] for _ in range(2)] == [running, waiting]
    assert platform.status()["restarts"] == 1


def test_a_restart_answers_each_job_once_and_refuses_what_is_under_way(
    receiver: tuple[str, type[Receiver]],
) -> None:
    url, kind = receiver
    spec = EndpointSpec("e", (sys.executable, str(SMALL)), ram_bytes=100 * MB, max_retries=0)
    with (
        start([spec]) as platform,
        httpx2.Client(base_url=platform.url, headers={"Authorization": platform.key}, timeout=40) as http,
    ):
        running = submit(http, asked={"sleep_s": 0.7}, webhook=url)
        until(lambda: status(http, running)["status"] == "IN_PROGRESS")
        half = HTTPConnection(platform.url.removeprefix("http://"), timeout=5)
        half.putrequest("POST", "/v2/e/run")
        half.putheader("Authorization", platform.key)
        content = json.dumps({"input": {}, "webhook": url}).encode()
        half.putheader("Content-Length", str(len(content)))
        half.endheaders(content[:5])
        http.put("/local/faults", json=[{"kind": "restart", "seconds": 0.3, "times": 1}])
        second = submit(http, asked={}, webhook=url)
        # The body that began before the restart ends after it: what is accepted must not be lost.
        until(lambda: http.get("/v2/e/health").status_code == 200)
        half.send(content[5:])
        assert half.getresponse().status == 502
        half.close()
        for job_id in (running, second):
            assert http.get(f"/v2/e/status-sync/{job_id}").json()["status"] == "COMPLETED"
        until(lambda: len(kind.bodies) >= 2)
        time.sleep(0.3)
        assert sorted(body["id"] for body in kind.bodies) == sorted([running, second])
        assert {body["status"] for body in kind.bodies} == {"COMPLETED"}


def test_without_a_key_only_loopback_names_are_served() -> None:
    with start([EndpointSpec("e")], key="") as running:
        assert (
            httpx2.get(f"{running.url}/v2/e/health", headers={"Authorization": "anything"}).status_code == 200
        )
        rebound = {"Authorization": "anything", "Host": "evil.example"}
        assert httpx2.get(f"{running.url}/v2/e/health", headers=rebound).status_code == 403
        assert httpx2.get(running.url, headers={"Host": "evil.example"}).status_code == 403
        assert httpx2.get(f"{running.url}/v2/e/health").status_code == 401
