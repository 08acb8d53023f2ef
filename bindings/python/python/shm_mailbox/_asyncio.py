"""``async for``: a reader's lines in an event loop, by way of its descriptor.

Any number of tasks may wait on one reader, in any loops. Each waits on a duplicate of the descriptor, as a loop takes
one callback for each number. Whoever is ready looks; who finds nothing waits again.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Reader

# Who waits, and on which reader's descriptor, by the identity of its future. Any thread may close a reader: each step is
# one operation on the dict, which others cannot divide. By weak references, so that a task whose loop is gone can go.
_waiting: dict[int, tuple[weakref.ref[asyncio.Future[None]], int]] = {}


class Lines:
    """Each newer line of a reader, until it is closed."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                line = self._reader.try_read()
                if line is not None:
                    return line
                fd = self._reader.fileno()
            except ValueError:
                if self._reader.closed:
                    raise StopAsyncIteration from None
                raise
            await _ready(self._reader, fd)


async def _ready(reader: Reader, fd: int) -> None:
    """Waits until the reader may have a line, or is closed."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    _waiting[id(future)] = (weakref.ref(future), fd)
    own = None
    try:
        own = os.dup(fd)
        loop.add_reader(own, _finish, future)
        if not reader.closed:  # else nobody may have told us
            await future
    except OSError:
        if not reader.closed:
            raise
    finally:
        # Also when the task is cancelled, or freed after its loop was closed.
        _waiting.pop(id(future), None)
        if own is not None:
            if not loop.is_closed():
                loop.remove_reader(own)
            os.close(own)


def closed(fd: int) -> None:
    """A reader was closed, its descriptor not yet: ends the waits on it, in their loops."""
    for future, on in list(_waiting.values()):
        waiter = future()
        if waiter is None or on != fd:
            continue
        try:
            waiter.get_loop().call_soon_threadsafe(_finish, waiter)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
