"""A client in a process of its own, which tests kill: python -m tests.dying_client, with JSON on standard input."""

import asyncio
import json
import sys
from pathlib import Path

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers
from fanscribe.contracts.variant import Variant
from fanscribe.endpoint import open_http
from fanscribe.pipeline import attempts
from fanscribe.pipeline.events import ignore
from fanscribe.pipeline.platform import Platform
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.run import Recording, transcribe
from fanscribe.results.folder import FolderResults


async def main() -> None:
    """Transcribe what standard input asks for and write the transcript."""
    asked = json.load(sys.stdin)
    attempts.HEDGES = 0  # a job beside a straggler is paid on purpose; what is counted are all others
    variant = Variant.model_validate(asked["variant"])
    endpoint = DeployedEndpoint(asked["endpoint"], asked["endpoint"], variant, Workers(max=asked["workers"]))
    file, output = Path(asked["file"]), Path(asked["output"])
    async with open_http(proxied=False) as http:
        results = FolderResults(Path(asked["results"]))
        platform = Platform(http, asked["base_url"], asked["key"], "local", results=results)
        transcript = await transcribe(
            Recording(file, file.name),
            make_request(model=variant.id),
            Catalogue({variant.id: variant}, (endpoint,)),
            platform,
            ignore,
        )
    part = output.with_suffix(".part")
    part.write_text(json.dumps(transcript.to_dict()))
    part.rename(output)


if __name__ == "__main__":
    asyncio.run(main())
