"""s3://bucket/key by ranged reads: a broken connection is taken up where it broke, of the same version or never."""

from typing import Any
from urllib.parse import unquote

from fanscribe.contracts.errors import AudioRefusedError, AudioUnreachableError, UsageError
from fanscribe.fetch.policy import Fetched
from fanscribe.fetch.sink import Sink, Watch
from fanscribe.s3 import Place, read_object, s3_client

_PIECE = 1 << 18
_FIRST_PAUSE_S = 0.5
_WORTH_ANOTHER_TRY = frozenset({408, 429, 500, 502, 503, 504})
_CHANGED = 412  # precondition failed: the object no longer has the ETag that was asked for


class _BrokeOffError(Exception):
    """An attempt failed in a way that the next one may not. The text says how."""


def fetch_s3(reference: str, sink: Sink, watch: Watch) -> Fetched:
    """Write the object's bytes. The endpoint is the operator's, so no address is refused here."""
    try:
        place = read_object(reference)
    except ValueError as error:
        raise AudioRefusedError(f"{watch.label}: {error}") from error
    policy = watch.policy
    try:
        client = s3_client(
            connect_timeout_s=policy.connect_timeout_s, read_timeout_s=policy.read_timeout_s, attempts=1
        )
    except ImportError as error:
        raise AudioRefusedError(
            f"{watch.label}: s3 references need boto3; install it with: pip install 'fanscribe[s3]'"
        ) from error
    except UsageError as error:
        raise AudioRefusedError(f"{watch.label}: cannot be read: {error}") from error
    try:
        return _Reader(client, place, sink, watch).read()
    finally:
        client.close()


class _Reader:
    """One object on its way, over as many connections as it takes."""

    def __init__(self, client: Any, place: Place, sink: Sink, watch: Watch) -> None:
        self._client = client
        self._place = place
        self._sink = sink
        self._watch = watch
        self._etag: str | None = None

    def read(self) -> Fetched:
        """Everything there is; raises as `fanscribe.fetch.fetch` says."""
        attempts = self._watch.policy.attempts
        for attempt in range(1, attempts + 1):
            self._watch.check()
            try:
                self._attempt()
                return self._sink.done(unquote(self._place.key.rpartition("/")[2]))
            except _BrokeOffError as error:
                if attempt == attempts:
                    raise AudioUnreachableError(
                        f"{self._watch.label}: could not be read from the bucket ({error}), after {attempt} attempts; "
                        "check region and endpoint, and try again"
                    ) from error
                pause_s = _FIRST_PAUSE_S * 2 ** (attempt - 1)
                self._watch.sleep(min(pause_s, max(self._watch.left_s(), 0)))
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self) -> None:
        from botocore.exceptions import BotoCoreError

        begin = self._sink.size_bytes
        answer = self._opened(begin)
        body = answer["Body"]
        try:
            total = self._begun(answer, begin)
            for piece in body.iter_chunks(_PIECE):
                self._sink.write(piece, total)
        except BotoCoreError as error:
            raise _BrokeOffError(_plain(error)) from error
        finally:
            body.close()
        if self._sink.size_bytes != total:
            raise _BrokeOffError(f"{self._sink.size_bytes} of {total} bytes came")

    def _opened(self, begin: int) -> dict[str, Any]:
        """The answer to a request for everything from byte `begin` on, its body unread."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            CredentialRetrievalError,
            HTTPClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        more = {"Range": f"bytes={begin}-", "IfMatch": self._etag} if begin and self._etag else {}
        try:
            answer: dict[str, Any] = self._client.get_object(
                Bucket=self._place.bucket, Key=self._place.key, **more
            )
            return answer
        except ClientError as error:
            raise self._refusal(error) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise AudioUnreachableError(
                f"{self._watch.label}: there are no credentials for the bucket; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY where it is read",
                retryable=False,
            ) from error
        except (ConnectionError, HTTPClientError) as error:
            raise _BrokeOffError(_plain(error)) from error
        except BotoCoreError as error:
            raise AudioUnreachableError(
                f"{self._watch.label}: could not be read from the bucket ({type(error).__name__}); check region and "
                "endpoint",
                retryable=False,
            ) from error

    def _refusal(self, error: Any) -> Exception:
        """What a refusal of the bucket comes to."""
        response: dict[str, Any] = error.response
        code = str(response.get("Error", {}).get("Code", "unknown"))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status == _CHANGED and self._etag:
            return self._changed()
        if status in _WORTH_ANOTHER_TRY:
            return _BrokeOffError(f"HTTP {status} {code}")
        return AudioUnreachableError(
            f"{self._watch.label}: the bucket refused it ({code}); check bucket, key and credentials",
            retryable=False,
        )

    def _begun(self, answer: dict[str, Any], begin: int) -> int:
        """Bring the sink to where the body begins; the size of the whole object in bytes."""
        length, etag = int(answer["ContentLength"]), answer.get("ETag")
        if begin and self._etag and etag != self._etag:
            raise self._changed()  # a store that does not heed If-Match
        resumed = str(answer.get("ContentRange", "")).startswith(f"bytes {begin}-") if begin else False
        if not resumed:
            self._sink.restart()
        self._etag = etag
        total = self._sink.size_bytes + length
        self._sink.announce(total)
        return total

    def _changed(self) -> AudioUnreachableError:
        return AudioUnreachableError(
            f"{self._watch.label}: changed while it was read; try again once nobody writes to it"
        )


def _plain(error: Exception) -> str:
    """What happened in the network, in words; the exception's own text may hold addresses."""
    from botocore import exceptions

    if isinstance(error, exceptions.ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, exceptions.ReadTimeoutError):
        return "the store fell silent"
    if isinstance(error, exceptions.EndpointConnectionError):
        return "no connection"
    if isinstance(error, exceptions.SSLError):
        return "no secure connection"
    return "the connection broke"
