"""The object store under /objects: files with unguessable names, a size cap and a lifetime."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from fanscribe.local.access import platform_of
from fanscribe.local.wire import refusal, reply

# No name of an object has a dot.
_PART = ".part"


@dataclass(frozen=True, slots=True)
class ObjectLimits:
    """Caps of the store: bytes of one object, bytes of all, seconds an object is kept."""

    object_bytes: int = 4 * 1024**3
    total_bytes: int = 16 * 1024**3
    lifetime_s: float = 6 * 3600.0


class ObjectStore:
    """Bodies kept as files in a folder, streamed both ways, gone after their lifetime."""

    def __init__(self, folder: Path, limits: ObjectLimits, wall: Callable[[], float] = time.time) -> None:
        self.limits = limits
        self.used_bytes = 0
        self._folder = folder
        self._wall = wall
        self._kept: dict[str, tuple[int, float]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_over()

    def __len__(self) -> int:
        return len(self._kept)

    def path(self, name: str) -> Path | None:
        """The file of an object; None when it does not exist or has expired."""
        kept = self._kept.get(name)
        return self._folder / name if kept is not None and kept[1] > self._wall() else None

    def delete(self, name: str) -> bool:
        """Remove an object; False when there is none of that name."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return False
        self.used_bytes -= kept[0]
        (self._folder / name).unlink(missing_ok=True)
        return True

    def expire(self) -> None:
        """Remove what has outlived its lifetime."""
        now = self._wall()
        for name in [name for name, (_, until) in self._kept.items() if until <= now]:
            self.delete(name)

    async def put(self, request: Request) -> tuple[str, int, float]:
        """Store a request's body; returns name, size in bytes and the time it is kept until (Unix seconds)."""
        self.expire()
        announced = request.headers.get("content-length", "")
        if announced.isdigit():
            self._check(int(announced), int(announced))
        name, size = secrets.token_urlsafe(32), 0
        target = self._folder / f"{name}{_PART}"
        try:
            with await asyncio.to_thread(target.open, "xb") as file:
                async for part in request.stream():
                    self._check(size + len(part), len(part))
                    size += len(part)
                    self.used_bytes += len(part)
                    await asyncio.to_thread(file.write, part)
            target.rename(self._folder / name)
        except BaseException as error:
            self.used_bytes -= size
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise refusal(507, f"cannot store the object: {os.strerror(error.errno or 0)}") from error
            if isinstance(error, ClientDisconnect):
                raise refusal(400, "the connection closed before the object was complete") from error
            raise
        until = self._wall() + self.limits.lifetime_s
        self._kept[name] = (size, until)
        return name, size, until

    def _take_over(self) -> None:
        """Keep the objects of an earlier life for the rest of their time; remove uploads it was cut off in."""
        for path in self._folder.iterdir():
            if path.suffix == _PART:
                path.unlink()
            elif path.is_file():
                found = path.stat()
                self._kept[path.name] = (found.st_size, found.st_mtime + self.limits.lifetime_s)
                self.used_bytes += found.st_size
        self.expire()

    def _check(self, size: int, added: int) -> None:
        limits = self.limits
        if size > limits.object_bytes:
            raise refusal(413, f"an object may have at most {limits.object_bytes} bytes")
        if self.used_bytes + added > limits.total_bytes:
            raise refusal(507, f"the object store is full ({limits.total_bytes} bytes); delete some objects")


async def put_object(request: Request) -> Response:
    """Store the body and answer where it can be read."""
    platform = platform_of(request)
    name, size, until = await _store(request).put(request)
    return reply({"url": f"{platform.url}/objects/{name}", "size": size, "expires_at": until}, 201)


async def get_object(request: Request) -> Response:
    """The object; its unguessable name is the right to read it, as with a presigned URL."""
    path = _store(request).path(request.path_params["name"])
    if path is None:
        raise refusal(404, "object does not exist or has expired")
    return FileResponse(path, media_type="application/octet-stream")


async def delete_object(request: Request) -> Response:
    """Remove the object."""
    platform_of(request)
    if not _store(request).delete(request.path_params["name"]):
        raise refusal(404, "object does not exist or has expired")
    return Response(status_code=204)


def _store(request: Request) -> ObjectStore:
    store: ObjectStore = request.app.state.objects
    return store


def routes() -> list[Route]:
    """The routes of the store."""
    return [
        Route("/objects", put_object, methods=["PUT", "POST"]),
        Route("/objects/{name}", get_object, methods=["GET", "HEAD"]),
        Route("/objects/{name}", delete_object, methods=["DELETE"]),
    ]
