"""s3://bucket/key through boto3, which finds credentials, region and endpoint in its usual places."""

from typing import Any
from urllib.parse import unquote

from fanscribe.contracts.errors import AudioRefusedError, AudioUnreachableError
from fanscribe.fetch.policy import Fetched
from fanscribe.fetch.sink import Sink, Watch

_PIECE = 1 << 18


def fetch_s3(reference: str, sink: Sink, watch: Watch) -> Fetched:
    """Write the object's bytes. The endpoint is the operator's, so no address is refused here."""
    bucket, _, key = reference.partition("://")[2].partition("/")
    if not bucket or not key:
        raise AudioRefusedError(f"{watch.label}: names no object; write s3://bucket/key")
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise AudioRefusedError(
            f"{watch.label}: s3 references need boto3; install it with: pip install 'fanscribe[s3]'"
        ) from error
    config = Config(
        connect_timeout=watch.policy.connect_timeout_s,
        read_timeout=watch.policy.read_timeout_s,
        retries={"total_max_attempts": watch.policy.attempts, "mode": "standard"},
    )
    name = unquote(key.rstrip("/").rpartition("/")[2]) or bucket
    version: dict[str, Any] = {}
    try:
        client = boto3.client("s3", config=config)
        for attempt in range(1, watch.policy.attempts + 1):
            watch.check()
            try:
                part = {"Range": f"bytes={sink.size_bytes}-"} if sink.size_bytes else {}
                answer = client.get_object(Bucket=bucket, Key=key, **version, **part)
                version = {"IfMatch": answer["ETag"]}  # so that a resumed download is of the same object
                total = sink.size_bytes + int(answer["ContentLength"])
                sink.announce(total)
                for piece in answer["Body"].iter_chunks(_PIECE):
                    sink.write(piece, total)
                return sink.done(name)
            except BotoCoreError:
                if attempt == watch.policy.attempts or not sink.size_bytes:
                    raise
                watch.sleep(0.5 * 2**attempt)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        raise AudioUnreachableError(
            f"{watch.label}: the bucket refused it ({code}); check bucket, key and credentials",
            retryable=int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500,
        ) from error
    except BotoCoreError as error:
        raise AudioUnreachableError(
            f"{watch.label}: could not be read from s3 ({type(error).__name__}); check credentials, region and "
            "endpoint"
        ) from error
    raise AssertionError("the last attempt returns or raises")
