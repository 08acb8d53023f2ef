"""Waiting: for time, lines, signals, and other threads.

| subject  | cases                                                                                          |
|----------|------------------------------------------------------------------------------------------------|
| time     | never early, zero, negative, not a number, for ever; for a mailbox that is not there yet        |
| threads  | run meanwhile, use the same reader meanwhile, close it, share its lines                         |
| Ctrl-C   | at once, on the main thread or on another; for a mailbox, for a line, in a loop; a handler that closes |
"""

import math
import os
import signal
import threading
import time

from shm_mailbox import Reader, Writer
from support import LIMIT, MailboxTest, is_asleep, wait_until


class Time(MailboxTest):
    def setUp(self):
        super().setUp()
        self.reader = self.enter(Reader("box"))

    def check(self):
        for read in [self.reader.read, self.reader.readline, lambda t: self.reader.read_into(bytearray(9), timeout=t)]:
            for timeout in [0.15, 0.01, 0, 0.0, -1, -math.inf]:
                started = time.monotonic()
                with self.assertRaisesRegex(TimeoutError, f"no new line in mailbox {self.dir}/box"):
                    read(timeout)
                self.assertGreaterEqual(time.monotonic() - started, timeout)
            with self.assertRaises(ValueError):
                read(math.nan)
            with self.assertRaises(TypeError):
                read("1")

    def test_a_time_limit_is_kept_while_there_is_no_mailbox(self):
        self.check()

    def test_a_time_limit_is_kept_while_there_is_no_line(self):
        self.enter(Writer("box"))
        self.check()

    def test_a_time_limit_is_kept_while_nothing_is_new(self):
        self.enter(Writer("box")).write("x")
        self.assertEqual(self.reader.read(0), b"x")
        self.check()

    def test_what_is_there_is_returned_whatever_the_limit(self):
        writer = self.enter(Writer("box"))
        for timeout in [0, -1, 5, None, math.inf, 1e300]:
            writer.write("x")
            self.assertEqual(self.reader.read(timeout), b"x")


class Threads(MailboxTest):
    def setUp(self):
        super().setUp()
        self.reader = Reader("box")
        self.addCleanup(self.reader.close)
        self.results = []

    def start(self, work):
        def run():
            self.ids.append(threading.get_native_id())
            try:
                self.results.append(work())
            except ValueError as error:
                self.results.append(str(error))

        self.ids = []
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        wait_until(lambda: self.ids and is_asleep(f"self/task/{self.ids[0]}"))
        return thread

    def test_other_threads_run_while_one_waits(self):
        thread = self.start(lambda: self.reader.read(LIMIT))
        with Writer("box") as writer:
            writer.write("x")
        thread.join()
        self.assertEqual(self.results, [b"x"])

    def test_other_threads_use_the_reader_while_one_waits(self):
        writer = self.enter(Writer("box"))
        writer.write("1")
        self.assertEqual(self.reader.read(), b"1")
        thread = self.start(lambda: self.reader.read(LIMIT))

        def use():
            started = time.monotonic()
            self.assertEqual(self.reader.latest(), b"1")
            self.assertIsNone(self.reader.try_read())
            self.assertEqual(self.reader.number, 1)
            self.assertFalse(self.reader.closed)
            self.assertRaises(TimeoutError, self.reader.read, 0.001)
            return time.monotonic() - started

        self.best_of(10, 0.04, use)
        self.assertEqual(self.results, [])
        writer.write("2")
        thread.join()
        self.assertEqual(self.results, [b"2"])

    def test_closing_ends_a_wait(self):
        for prepare in [lambda: None, lambda: self.enter(Writer("box"))]:
            prepare()

            def measure():
                self.results.clear()
                self.reader = Reader("box")
                thread = self.start(self.reader.read)
                started = time.monotonic()
                self.reader.close()
                closed = time.monotonic()
                thread.join()
                self.assertEqual(self.results, ["this reader is closed"])
                self.assertLess(closed - started, 5)
                return time.monotonic() - started

            self.best_of(5, 0.2, measure)

    def test_closing_ends_a_loop(self):
        writer = self.enter(Writer("box"))
        writer.write("x")
        thread = self.start(lambda: list(self.reader))
        self.reader.close()
        thread.join()
        self.assertEqual(self.results, [[b"x"]])

    def test_each_line_goes_to_one_of_the_threads_that_share_a_reader(self):
        writer = self.enter(Writer("box"))
        threads = [self.start(lambda: list(self.reader)) for _ in range(4)]
        for number in range(1, 501):
            writer.write(str(number))
            if number % 10 == 0:
                time.sleep(0.001)
        wait_until(lambda: self.reader.number == 500)
        self.reader.close()
        for thread in threads:
            thread.join()
        for lines in self.results:
            self.assertEqual(lines, sorted(lines, key=int))
        numbers = sorted(int(line) for lines in self.results for line in lines)
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(numbers[-1], 500)

    def test_threads_close_use_and_wait_at_random(self):
        writer = self.enter(Writer("box"))
        for _ in range(50):
            reader = self.reader = Reader("box")
            threads = [threading.Thread(target=list, args=(reader,)) for _ in range(2)]

            def use():
                try:
                    while True:
                        reader.fileno(), reader.latest(), reader.try_read(), reader.number, reader.writer_alive
                except ValueError as error:
                    self.results.append(str(error))

            threads.append(threading.Thread(target=use))
            for thread in threads:
                thread.start()
            for _ in range(20):
                writer.write("x")
            reader.close()
            for thread in threads:
                thread.join()
        self.assertEqual(set(self.results), {"this reader is closed"})
        self.assertEqual(len(self.results), 50)


WAITER = """
import signal, sys, threading, time
import shm_mailbox
reader = shm_mailbox.Reader("box")
writer = shm_mailbox.Writer("box") if sys.argv[1] != "mailbox" else None
if sys.argv[1] == "handler":
    signal.signal(signal.SIGINT, lambda *_: reader.close())
if sys.argv[1] == "other thread":
    other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    other.start()
    threading.Timer(0.3, lambda: (print(time.monotonic(), flush=True),
                                  signal.pthread_kill(other.ident, signal.SIGINT))).start()
print("waiting", flush=True)
try:
    if sys.argv[1] == "loop":
        for line in reader:
            pass
    else:
        reader.read()
except (KeyboardInterrupt, ValueError) as error:
    print(type(error).__name__, time.monotonic(), flush=True)
"""


class CtrlC(MailboxTest):
    def check(self, way, expected="KeyboardInterrupt"):
        def measure():
            process = self.program(WAITER, way)
            self.assertEqual(self.hear(process), "waiting")
            if way == "other thread":
                sent = float(self.hear(process))
            else:
                wait_until(lambda: is_asleep(process.pid))
                sent = time.monotonic()
                os.kill(process.pid, signal.SIGINT)
            name, ended = self.hear(process).split()
            self.assertEqual(name, expected)
            return float(ended) - sent

        self.best_of(5, 0.2, measure)

    def test_it_ends_a_wait_for_a_line(self):
        self.check("line")

    def test_it_ends_a_wait_for_a_mailbox(self):
        self.check("mailbox")

    def test_it_ends_a_loop(self):
        self.check("loop")

    def test_it_ends_a_wait_when_another_thread_gets_the_signal(self):
        self.check("other thread")

    def test_a_handler_may_close_the_reader(self):
        self.check("handler", "ValueError")

    def test_signals_that_do_not_raise_shorten_no_wait(self):
        reader = self.enter(Reader("box"))
        former = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        try:
            started = time.monotonic()
            self.assertRaises(TimeoutError, reader.read, 0.3)
            self.assertGreaterEqual(time.monotonic() - started, 0.3)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
