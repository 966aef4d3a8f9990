"""The management API's edge: what is repeated, how long it waits, and what a refusal says."""

import json
from collections.abc import Callable

import httpx2
import pytest

from fanscribe.contracts.errors import (
    AnswerError,
    AuthenticationError,
    NotFoundError,
    PlatformError,
    RateLimitedError,
    TransportError,
    UsageError,
)
from fanscribe.deploy.account import read_account, runpod
from fanscribe.deploy.cached_model import read_models, write_model
from fanscribe.deploy.management import ATTEMPTS, Management, retry_after
from fanscribe.deploy.state import Desired

KEY = "rpa_planted-key"

Answer = httpx2.Response | Exception


class Platform:
    """Answers in turn, the last answer for ever; keeps what was asked, and how long was slept."""

    def __init__(self, *answers: Answer | Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.slept: list[float] = []

    def management(self) -> Management:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        return Management(
            http, "https://rest/v2", "https://rest/graphql", "https://data/v2", KEY, "runpod", sleep
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else answer(request)


def _problem(status: int, detail: str, *errors: str, **headers: str) -> httpx2.Response:
    body = {"title": "No", "status": status, "detail": detail, **({"errors": list(errors)} if errors else {})}
    return httpx2.Response(status, json=body, headers=headers)


async def test_the_key_travels_in_the_header_only() -> None:
    platform = Platform(httpx2.Response(200, json={"endpoints": []}))
    await platform.management().get("serverless")
    (request,) = platform.asked
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(request.url)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "first", [httpx2.Response(500, text="oops"), httpx2.ReadTimeout("slow"), httpx2.ConnectError("refused")]
)
async def test_what_can_be_repeated_is_repeated(method: str, first: Answer) -> None:
    platform = Platform(first, httpx2.Response(200, json={"ok": True}))
    assert await platform.management().rest(method, "serverless/x", {}) == {"ok": True}
    assert len(platform.asked) == 2


@pytest.mark.parametrize("first", [httpx2.Response(500, text="oops"), httpx2.ReadTimeout("slow")])
async def test_a_creation_of_unknown_fate_is_not_repeated(first: Answer) -> None:
    platform = Platform(first, httpx2.Response(201, json={}))
    with pytest.raises(TransportError, match="POST serverless"):
        await platform.management().rest("POST", "serverless", {})
    assert len(platform.asked) == 1


@pytest.mark.parametrize(
    "first", [_problem(429, "slow down", **{"Retry-After": "7"}), httpx2.ConnectError("refused")]
)
async def test_a_creation_that_did_nothing_is_repeated(first: Answer) -> None:
    platform = Platform(first, httpx2.Response(201, json={"id": "x"}))
    assert await platform.management().rest("POST", "serverless", {}) == {"id": "x"}
    if isinstance(first, httpx2.Response):
        assert platform.slept == [7.0]


async def test_a_platform_that_stays_down_is_given_up() -> None:
    platform = Platform(httpx2.Response(503, text="down"))
    with pytest.raises(TransportError, match=r"GET serverless: down \(HTTP 503\)"):
        await platform.management().get("serverless")
    assert len(platform.asked) == ATTEMPTS


async def test_an_hour_of_waiting_is_not_waited_for() -> None:
    platform = Platform(_problem(429, "quota used up", **{"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError, match="quota used up") as caught:
        await platform.management().get("serverless")
    assert caught.value.retry_after_s == 3600
    assert platform.slept == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"RateLimit": '"minute";r=0;t=12, "hour";r=2900;t=3000'}, 12.0),
        ({"RateLimit": '"minute";r=3;t=12'}, None),
        ({}, None),
    ],
)
def test_what_a_429_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx2.Headers(headers), now=lambda: 60.0) == seconds


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (_problem(401, "no"), AuthenticationError, "check RUNPOD_API_KEY"),
        (
            _problem(403, "read only"),
            AuthenticationError,
            "read only (HTTP 403): the API key may not do this",
        ),
        (_problem(404, "no such endpoint"), NotFoundError, "no such endpoint (HTTP 404)"),
        (_problem(409, "being deleted"), PlatformError, "being deleted (HTTP 409)"),
        (
            _problem(422, "invalid", "$.workers.max: must be at least 1", "$: additional properties 'x'"),
            PlatformError,
            "workers.max: must be at least 1; additional properties 'x' (HTTP 422)",
        ),
        (httpx2.Response(400, text="<html>bad</html>"), PlatformError, "<html>bad</html> (HTTP 400)"),
        (httpx2.Response(400, json={"error": "not allowed"}), PlatformError, "not allowed (HTTP 400)"),
    ],
)
async def test_a_refusal_is_one_sentence_with_the_field(
    response: httpx2.Response, kind: type[Exception], words: str
) -> None:
    platform = Platform(response)
    with pytest.raises(kind) as caught:
        await platform.management().rest("PATCH", "serverless/x", {})
    assert str(caught.value).startswith("runpod: PATCH serverless/x: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(platform.asked) == 1


async def test_an_echoed_key_is_not_repeated() -> None:
    platform = Platform(_problem(400, f"key {KEY} is odd"))
    with pytest.raises(PlatformError) as caught:
        await platform.management().rest("PATCH", "serverless/x", {})
    assert KEY not in str(caught.value)
    platform = Platform(httpx2.Response(200, json={"errors": [{"message": f"key {KEY} is odd"}]}))
    with pytest.raises(PlatformError) as caught:
        await platform.management().graphql("query", {}, repeat=True)
    assert KEY not in str(caught.value)


async def test_an_answer_that_is_not_json_is_named() -> None:
    with pytest.raises(AnswerError, match="GET serverless was answered with something that is not JSON"):
        await Platform(httpx2.Response(200, text="<html>")).management().get("serverless")


async def test_no_key_and_a_key_with_a_line_break_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no API key"):
        runpod(None, {})
    with pytest.raises(UsageError, match="copy it again"):
        runpod("rpa_\nx", {})


async def test_other_addresses_of_the_platform() -> None:
    opened = runpod(
        KEY,
        {
            "RUNPOD_REST_V2_API_URL": "http://a/v2/",
            "RUNPOD_API_BASE_URL": "http://b",
            "RUNPOD_ENDPOINT_BASE_URL": "http://c/v2",
        },
    )
    await opened.http.aclose()
    assert (opened.rest_url, opened.graphql_url, opened.data_url) == (
        "http://a/v2",
        "http://b/graphql",
        "http://c/v2",
    )


def _graphql(data: dict[str, object] | None, *errors: str) -> httpx2.Response:
    return httpx2.Response(200, json={"data": data, "errors": [{"message": each} for each in errors]})


async def test_cached_models_are_read_for_all_endpoints_at_once() -> None:
    platform = Platform(
        _graphql(
            {"myself": {"maxServerlessConcurrency": 10, "endpoints": [{"id": "a", "modelReferences": ["m"]}]}}
        )
    )
    told = await read_models(platform.management())
    assert told.models == {"a": ("m",)}
    assert told.worker_limit == 10


@pytest.mark.parametrize(
    "answer",
    [
        _graphql(None, 'Cannot query field "modelReferences" on type "Endpoint".'),
        httpx2.Response(400, json={"errors": [{"message": "Cannot query field"}]}),
        httpx2.Response(410, json={"detail": "GraphQL is retired"}),
        _graphql({"myself": None}),
    ],
)
async def test_a_graphql_that_does_not_tell_leaves_the_models_unknown(answer: httpx2.Response) -> None:
    told = await read_models(Platform(answer).management())
    assert told.models is None
    assert told.why.startswith("cached models cannot be read back: ")


async def test_saving_a_model_sends_back_what_it_would_reset() -> None:
    found = {"id": "a", "name": "n", "idleTimeout": 30, "scalerType": "QUEUE_DELAY", "scalerValue": 4}
    found |= {"workersMin": 1, "workersMax": 7, "gpuCount": 2, "locations": "EU-RO-1", "gpuIds": "ADA_24"}
    found |= {"templateId": "t", "networkVolumeId": "v"}
    platform = Platform(
        _graphql({"myself": {"endpoints": [{"id": "b"}, found]}}), _graphql({"saveEndpoint": {"id": "a"}})
    )
    await write_model(platform.management(), "a", ["m"])
    sent = json.loads(platform.asked[1].content)["variables"]["input"]
    assert sent == found | {"modelReferences": ["m"]}


async def test_saving_a_model_of_an_endpoint_that_is_gone() -> None:
    with pytest.raises(NotFoundError, match="there is no endpoint a"):
        await write_model(Platform(_graphql({"myself": {"endpoints": []}})).management(), "a", ["m"])


def _account_answer(request: httpx2.Request) -> httpx2.Response:
    path = request.url.path
    if path == "/graphql":
        return _graphql({"myself": {"endpoints": []}})
    if path == "/v2/catalog/gpus":
        price = {"secure": 1.0, "community": 1.0, "serverless": 1.1}
        return httpx2.Response(200, json={"gpus": [{"id": "x", "pool": "ADA_24", "price": price}]})
    if path == "/v2/serverless":
        listed = [{"id": f"e{number}", "name": f"e{number}"} for number in range(50)]
        return httpx2.Response(200, json={"endpoints": listed})
    identity = path.rpartition("/")[2]
    whole = {
        "id": identity,
        "name": identity,
        "image": "i",
        "env": {"A": "b"},
        "workers": {"min": 0, "max": 1},
    }
    scaling = {"type": "REQUEST_COUNT", "requestCount": 4}
    return httpx2.Response(
        200, json={**whole, "scaling": scaling, "gpu": {"pools": ["ADA_24"]}, "timeout": 1000}
    )


async def test_fifty_endpoints_take_five_calls_and_one_more_for_each() -> None:
    platform = Platform(_account_answer)
    account = await read_account(platform.management(), Desired("p", ()))
    assert len(account.endpoints) == 50
    assert account.endpoints[0].state.env == {"A": "b"}
    assert len(platform.asked) <= 5 + 50
    assert not any(request.method == "PATCH" for request in platform.asked)
