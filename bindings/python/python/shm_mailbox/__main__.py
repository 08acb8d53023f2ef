"""``python -m shm_mailbox put|get|watch NAME``: as the program ``mailbox`` does it, with fewer options.

Exit codes: 0 done, 1 nothing there, 2 usage or failure, 3 another writer has the mailbox, 124 time ran out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable

from . import MailboxBusy, Reader, Writer

LONGEST = 64 << 20


def main() -> int:
    parser = argparse.ArgumentParser("python -m shm_mailbox", description="A mailbox holds one line: the newest.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="put|get|watch")
    put = verbs.add_parser("put", help="publish a line, or each line of standard input as it comes")
    get = verbs.add_parser("get", help="print the newest line")
    watch = verbs.add_parser("watch", help="print each newer line, for ever")
    for verb in (put, get, watch):
        verb.add_argument("name", help="the mailbox")
        verb.add_argument("--dir", help="the directory it is in")
    put.add_argument("line", nargs="?", help="default: the lines of standard input")
    get.add_argument("--wait", type=float, metavar="SECONDS", help="wait for a first line")
    watch.add_argument("-n", type=int, metavar="COUNT", help="end after so many lines")
    watch.add_argument("--timeout", type=float, metavar="SECONDS", help="end after so long without a line")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "put":
            stdin = (line.removesuffix(b"\n") for line in sys.stdin.buffer)
            publish(arguments, stdin if arguments.line is None else [os.fsencode(arguments.line)])
            return 0
        with Reader(arguments.name, dir=arguments.dir) as reader:
            return show(reader, arguments) if arguments.verb == "watch" else first(reader, arguments)
    except MailboxBusy as error:
        return fail(error, 3)
    except TimeoutError as error:
        return fail(error, 124)
    except BrokenPipeError:
        # The reader of our output has left, which is no failure; nor is what Python would flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        return fail(error, 2)
    except KeyboardInterrupt:
        return 130


def publish(arguments: argparse.Namespace, lines: Iterable[bytes]) -> None:
    writer = Writer(arguments.name, dir=arguments.dir)
    try:
        for line in lines:
            try:
                writer.write(line)
            except ValueError:
                if len(line) > LONGEST:
                    raise
                writer.close()
                writer = Writer(arguments.name, dir=arguments.dir, capacity=len(line))
                writer.write(line)
    finally:
        writer.close()


def first(reader: Reader, arguments: argparse.Namespace) -> int:
    line = reader.latest() if arguments.wait is None else reader.read(arguments.wait)
    if line is None:
        return fail(f"there is no line in {arguments.name}", 1)
    say(line)
    return 0


def show(reader: Reader, arguments: argparse.Namespace) -> int:
    shown = 0
    while arguments.n is None or shown < arguments.n:
        say(reader.read(arguments.timeout))
        shown += 1
    return 0


def say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def fail(why: object, code: int) -> int:
    print(f"python -m shm_mailbox: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
