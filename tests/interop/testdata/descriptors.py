"""Calls imaged with descriptors: python3 descriptors.py SOCKET IMAGE ROOTFS. It prints, as JSON, what came of it.

The library is strict: a field of a reply that is not declared here, or of another type, is an error.
"""

import asyncio
import collections.abc
import contextlib
import json
import os
import socket
import sys
import tempfile
import typing

from asyncvarlink import (
    FileDescriptor,
    TypedVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkErrorReply,
    VarlinkInterface,
    connect_unix_varlink,
    varlinkmethod,
)


class Blob(typing.TypedDict):
    digest: str
    kind: typing.Literal["manifest", "config", "layer", "other"]
    state: typing.Literal["waiting", "transferring", "unpacking", "done", "skipped", "failed"]
    offset: int
    size: int | None


class Progress(typing.TypedDict):
    phase: typing.Literal["resolving", "transferring", "unpacking", "committing", "waiting"]
    done: int
    total: int | None
    cached: int
    bytesPerSecond: int
    layersDone: int
    layersTotal: int | None
    blobs: list[Blob]


class Line(typing.TypedDict):
    source: typing.Literal["engine", "stdout", "stderr"]
    text: str


class Reply(typing.TypedDict):
    job: str | None
    progress: Progress | None
    lines: list[Line] | None


class Saved(Reply):
    size: int | None


class Loaded(Reply):
    names: list[str] | None
    ids: list[str] | None


class Imported(Reply):
    id: str | None


class InvalidArchive(TypedVarlinkErrorReply, interface="io.imaged.transfers"):
    class Parameters:
        reason: str
        message: str


class Transfers(VarlinkInterface, name="io.imaged.transfers"):
    errors = (InvalidArchive,)

    @varlinkmethod
    def Save(self, *, names: list[str], format: str, fileDescriptor: FileDescriptor) -> Saved: ...

    @varlinkmethod
    def Load(self, *, fileDescriptor: FileDescriptor) -> Loaded: ...

    @varlinkmethod
    def Import(self, *, fileDescriptor: FileDescriptor) -> Imported: ...


class Streams(VarlinkInterface, name="io.imaged.transfers"):
    @varlinkmethod
    def Save(self, *, names: list[str], fileDescriptor: FileDescriptor) -> collections.abc.Iterator[Saved]: ...

    @varlinkmethod
    def Load(self, *, fileDescriptor: FileDescriptor) -> collections.abc.Iterator[Loaded]: ...

    @varlinkmethod
    def Import(self, *, fileDescriptor: FileDescriptor) -> collections.abc.Iterator[Imported]: ...


@contextlib.contextmanager
def ways(kind):
    """What is written to here is read there."""
    if kind == "file":
        with tempfile.TemporaryFile() as file:
            yield file, file
        return
    if kind == "pipe":
        reader, writer = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), ("rb", "wb")))
    else:
        reader, writer = socket.socketpair()
    with reader, writer:
        yield reader, writer


def drain(kind, reader):
    if kind == "file":
        reader.seek(0)
    chunks = []
    while chunk := os.read(reader.fileno(), 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def feed(kind, writer, content):
    with contextlib.suppress(BrokenPipeError):  # the daemon need not read what it has refused
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(writer.fileno(), rest):]
    if kind == "file":
        writer.seek(0)
    else:
        writer.close()


async def download(kind, call):
    with ways(kind) as (reader, writer):
        given = os.dup(writer.fileno())  # the library closes what it passes
        if kind == "file":
            return await call(given), drain(kind, reader)
        writer.close()
        content = asyncio.create_task(asyncio.to_thread(drain, kind, reader))
        return await call(given), await content


async def upload(kind, content, call):
    with ways(kind) as (reader, writer):
        given = os.dup(reader.fileno())
        if kind == "file":
            feed(kind, writer, content)
            return await call(given)
        reader.close()
        fed = asyncio.create_task(asyncio.to_thread(feed, kind, writer, content))
        try:
            return await call(given)
        finally:
            await fed


async def every(stream):
    return [reply async for reply in stream]


async def main(path, image, rootfs):
    results = {"saved": {}, "sizes": {}, "loaded": {}, "imported": {}, "streams": {}, "errors": {}}
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, path)
    transfers, streams = protocol.make_proxy(Transfers), protocol.make_proxy(Streams)
    archives = {}
    for kind in ("file", "pipe", "socket"):
        reply, archive = await download(
            kind, lambda fd: transfers.Save(names=[image], format="docker_archive", fileDescriptor=fd))
        archives[kind] = archive
        results["sizes"][kind] = [reply["size"], len(archive)]
        results["saved"][kind] = archive == archives["file"]
        reply = await upload(kind, archive, lambda fd: transfers.Load(fileDescriptor=fd))
        results["loaded"][kind] = reply["ids"]
        reply = await upload(kind, rootfs, lambda fd: transfers.Import(fileDescriptor=fd))
        results["imported"][kind] = reply["id"]

    replies, archive = await download("pipe", lambda fd: every(streams.Save(names=[image], fileDescriptor=fd)))
    results["streams"]["Save"] = [bool(replies[0]["job"]), replies[-1]["size"] == len(archive)]
    replies = await upload("pipe", archive, lambda fd: every(streams.Load(fileDescriptor=fd)))
    results["streams"]["Load"] = [bool(replies[0]["job"]), bool(replies[-1]["ids"])]
    replies = await upload("socket", rootfs, lambda fd: every(streams.Import(fileDescriptor=fd)))
    results["streams"]["Import"] = [bool(replies[0]["job"]), bool(replies[-1]["id"])]

    async def failing(name, call):
        try:
            await call
        except InvalidArchive as error:
            results["errors"][name] = f"{error.name}: {error.p_reason}"
        except VarlinkErrorReply as error:
            results["errors"][name] = f"{error.name} {error.paramstojson()}"

    null = lambda flags: os.open(os.devnull, flags)
    await failing("read only", transfers.Save(names=[image], format="oci_archive", fileDescriptor=null(os.O_RDONLY)))
    await failing("write only", transfers.Load(fileDescriptor=null(os.O_WRONLY)))
    await failing("a device", transfers.Load(fileDescriptor=null(os.O_RDONLY)))
    await failing("no bytes", upload("pipe", b"", lambda fd: transfers.Load(fileDescriptor=fd)))
    for kind in ("file", "pipe", "socket"):
        await failing(f"garbage from a {kind}", upload(kind, b"garbage\n" * 100000, lambda fd: transfers.Load(fileDescriptor=fd)))
    transport.close()
    print(json.dumps(results))


with open(sys.argv[3], "rb") as file:
    asyncio.run(main(sys.argv[1], sys.argv[2], file.read()))
