"""The mailbox beside what one would take instead, in turns within one run: ``python bindings/python/bench.py``.

Prints medians, and ratios of medians: figures of one run compare, figures of two do not. Peers that are not installed
(``pip install kickmsg pyzmq``) are named as skipped.
"""

import itertools
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time

from shm_mailbox import Reader, Writer

ROUNDS = 15
LINE = b"x" * 32


def main():
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} processors; {ROUNDS} rounds")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        os.environ["MAILBOX_DIR"] = directory
        rows = [*single(), *round_trips(), *managers()]
        print("| question | mailbox | against | time | ratio | wanted |\n|---|---:|---|---:|---:|---:|")
        for question, ours, peer, theirs, wanted in rows:
            print(f"| {question} | {show(ours)} | {peer} | {show(theirs)} | {theirs / ours:.3g} | {wanted} |")


def show(seconds):
    return f"{seconds * 1e9:.0f} ns" if seconds < 1e-6 else f"{seconds * 1e6:.3g} us"


def medians(contenders, many):
    """Seconds a call, of each contender: the median of rounds in turns."""
    times = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            # What the loop itself costs is in both.
            turns = itertools.repeat(None, many)
            started = time.perf_counter()
            for _ in turns:
                call()
            times[name].append((time.perf_counter() - started) / many)
    return {name: statistics.median(each) for name, each in times.items()}


def skipped(what, why):
    print(f"skipped: {what}: {why}", file=sys.stderr)


def single():
    """One process: what a call costs."""
    room, source = bytearray(4096), b"y" * 4096
    view = memoryview(room)

    def copy():
        view[:] = source

    with (
        Writer("timed") as timed,
        Writer("bare", timestamps=False) as bare,
        Reader("timed") as timed_reader,
        Reader("bare") as bare_reader,
        Writer("long", timestamps=False) as long,
        Reader("long") as long_reader,
    ):
        contenders = {
            "write": lambda: timed.write(LINE),
            "write, no time": lambda: bare.write(LINE),
            "read": timed_reader.latest,
            "read, no time": bare_reader.latest,
            "write 4 KiB": lambda: long.write(source),
            "write and read_into 4 KiB": lambda: (long.write(source), long_reader.read_into(room)),
            "copy 4 KiB": copy,
        }
        peers = kickmsg()
        found = medians(contenders | peers, 20_000)
    peer = "kickmsg's blackboard"
    if peers:
        for name in ["write", "write, no time"]:
            yield f"{name}, 32 bytes", found[name], peer, found["kickmsg write"], "0.8"
        for name in ["read", "read, no time"]:
            yield f"{name} (`latest`), 32 bytes", found[name], peer, found["kickmsg read"], "0.8"
    # Nothing is read twice, so each read has a write before it, whose time is taken off.
    into = found["write and read_into 4 KiB"] - found["write 4 KiB"]
    yield "read_into, 4 KiB", into, "the same copy by memoryview", found["copy 4 KiB"], "0.77"


def kickmsg():
    try:
        from kickmsg import Blackboard
    except ImportError as error:
        skipped("kickmsg", error)
        return {}
    name = f"bench{os.getpid()}"
    board = Blackboard.open_or_create("mailbox", name)
    Blackboard.unlink("mailbox", name)
    writer, reader = board.declare("key"), board.observe("key")
    writer.write(LINE)
    assert reader.read().data == LINE
    return {"kickmsg write": lambda: writer.write(LINE), "kickmsg read": lambda: reader.read().data}


def round_trips():
    """Two processes that spin: there and back again."""
    contenders = {"mailbox": mailbox_echo}
    try:
        import zmq  # noqa: F401

        contenders["zmq"] = zmq_echo
    except ImportError as error:
        skipped("pyzmq", error)
    times = {name: [] for name in contenders}
    for turn in range(5):
        for name, contender in contenders.items():
            times[name].append(contender(str(turn)))
    found = {name: statistics.median(each) for name, each in times.items()}
    if "zmq" in found:
        yield "there and back, 32 bytes, two processes that spin", found["mailbox"], "pyzmq with CONFLATE", found["zmq"], "100"


def echo(work, *arguments):
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def trips(ask, many):
    """Seconds a trip: the median of many, each checked, after some to warm up."""
    times = []
    for number in range(many + many // 10):
        line = number.to_bytes(32, "little")
        started = time.perf_counter()
        answer = ask(line)
        times.append(time.perf_counter() - started)
        assert answer == line
    return statistics.median(times[many // 10 :])


def mailbox_echo(turn):
    def answer():
        with Reader("there" + turn) as reader, Writer("back" + turn, timestamps=False) as writer:
            for line in reader:
                writer.write(line)

    process = echo(answer)
    try:
        with Writer("there" + turn, timestamps=False) as writer, Reader("back" + turn) as reader:

            def ask(line):
                writer.write(line)
                return reader.read()

            return trips(ask, 20_000)
    finally:
        process.kill()
        process.join()


def zmq_echo(turn):
    import zmq

    directory = os.environ["MAILBOX_DIR"]

    def open_socket(context, kind, name, bind):
        socket = context.socket(kind)
        socket.setsockopt(zmq.CONFLATE, 1)
        socket.setsockopt(zmq.LINGER, 0)
        getattr(socket, "bind" if bind else "connect")(f"ipc://{directory}/{name}")
        return socket

    def answer():
        with zmq.Context() as context:
            source = open_socket(context, zmq.PULL, "zmq-there" + turn, True)
            target = open_socket(context, zmq.PUSH, "zmq-back" + turn, True)
            while True:
                target.send(spin(source))

    def spin(socket):
        while True:
            try:
                return socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                pass

    process = echo(answer)
    try:
        with zmq.Context() as context:
            target = open_socket(context, zmq.PUSH, "zmq-there" + turn, False)
            source = open_socket(context, zmq.PULL, "zmq-back" + turn, False)

            def ask(line):
                target.send(line)
                return spin(source)

            try:
                return trips(ask, 1_000)
            finally:
                target.close()
                source.close()
    finally:
        process.kill()
        process.join()


def managers():
    """The standard library's: a lock and a value behind a server process."""
    with multiprocessing.get_context("fork").Manager() as manager, Writer("managed") as writer:
        lock, value = manager.Lock(), manager.Value("c", b"")

        def write():
            with lock:
                value.value = LINE

        theirs = medians({"manager": write}, 200)["manager"]
        ours = medians({"mailbox": lambda: writer.write(LINE)}, 20_000)["mailbox"]
        yield "write, 32 bytes", ours, "multiprocessing.Manager, lock and value", theirs, "1000"


if __name__ == "__main__":
    main()
