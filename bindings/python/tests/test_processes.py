"""Two processes and more: forked, spawned, killed.

| subject  | cases                                                                                               |
|----------|-----------------------------------------------------------------------------------------------------|
| fork     | a child does not write; reads beside its parent, also by the descriptor; the lock is the parent's alone |
| start    | multiprocessing by fork, spawn and forkserver                                                       |
| restart  | either side, with the same capacity or a larger one                                                 |
| torn     | a million lines that check themselves, against a writer in a tight loop                              |
| killed   | 200 writers by SIGKILL in a tight loop                                                              |
"""

import multiprocessing
import os
import select
import signal
import time
import traceback
import warnings

from shm_mailbox import MailboxBusy, Reader, Writer
from support import LIMIT, MailboxTest, wait_until


def fork(work):
    """Runs `work` in a forked child, which ends with 0 if that comes to an end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads; there are none
        pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def read_and_answer(reader, name):
    """In a child: reads the line that is there, and answers in another mailbox, until told to stop."""
    with reader, Writer(name) as answer:
        for line in reader:
            answer.write(b"seen " + line)
            if line == b"stop":
                return


class Fork(MailboxTest):
    def wait(self, pid):
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_a_forked_child_does_not_write(self):
        writer = self.enter(Writer("box"))
        reader = self.enter(Reader("box"))
        writer.write("parent")

        def child():
            for _ in range(3):
                try:
                    writer.write("child")
                except RuntimeError as error:
                    assert "forked" in str(error), error
                else:
                    raise AssertionError("wrote")
            try:
                Writer("box")
            except MailboxBusy:
                pass
            else:
                raise AssertionError("two writers")
            writer.close()

        self.wait(fork(child))
        self.assertEqual(reader.read(0), b"parent")
        self.assertEqual(writer.write("on"), 2)
        self.assertIs(reader.writer_alive, True)

    def test_a_child_that_lives_on_does_not_keep_the_mailbox(self):
        writer = Writer("box")
        pid = fork(lambda: time.sleep(LIMIT))
        try:
            writer.close()
            with Writer("box") as next_writer:
                next_writer.write("x")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def test_parent_and_child_read_side_by_side(self):
        writer = self.enter(Writer("box"))
        reader = self.enter(Reader("box"))
        reader.fileno()
        back = self.enter(Reader("back"))

        def child():
            with Writer("back") as answer:
                while True:
                    select.select([reader], [], [], LIMIT)
                    while (line := reader.try_read()) is not None:
                        answer.write(line)
                        if line == b"50":
                            return

        pid = fork(child)
        for number in range(1, 51):
            writer.write(str(number))
            while (line := reader.try_read()) is None:
                self.assertTrue(select.select([reader], [], [], LIMIT)[0])
            self.assertEqual(line, str(number).encode())
            self.assertEqual(back.read(LIMIT), line)
        self.wait(pid)

    def test_start_methods_of_multiprocessing(self):
        writer = self.enter(Writer("box"))
        for method in ["fork", "spawn", "forkserver"]:
            context = multiprocessing.get_context(method)
            writer.write("there")
            with Reader("box") as reader, Reader("back", skip_current=True) as back, warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                process = context.Process(target=read_and_answer, args=(reader, "back"))
                process.start()
                try:
                    self.assertEqual(back.read(LIMIT), b"seen there", method)
                    for line in [b"1", b"2", b"stop"]:
                        writer.write(line)
                        self.assertEqual(back.read(LIMIT), b"seen " + line, method)
                    process.join(LIMIT)
                    self.assertEqual(process.exitcode, 0, method)
                finally:
                    process.kill()
                    process.join()
                    process.close()
            with self.assertRaises(TypeError):
                multiprocessing.get_context("spawn").Process(target=print, args=(writer,)).start()


class Restart(MailboxTest):
    def test_either_side_may_restart(self):
        reader = self.enter(Reader("box"))
        number = 0
        for capacity in [10, 10, 5000, 10]:
            with Writer("box", capacity=capacity) as writer:
                for _ in range(3):
                    number += 1
                    self.assertEqual(writer.write(str(number)), number)
                    self.assertEqual(reader.read(LIMIT), str(number).encode())
                    with Reader("box") as late:
                        self.assertEqual(late.read(0), str(number).encode())
            self.assertIs(reader.writer_alive, False)
            self.assertRaises(TimeoutError, reader.read, 0)

    def test_a_reader_that_waits_sees_the_next_writer(self):
        reader = self.enter(Reader("box"))
        for number in range(1, 6):
            process = self.program("import sys, shm_mailbox as m; w = m.Writer('box'); w.write('x'); sys.stdin.read()")
            self.assertEqual(reader.read(LIMIT), b"x")
            self.assertEqual(reader.number, number)
            process.kill()
            process.wait()


# A line checks itself: its first eight bytes, over and over.
def line(number):
    return number.to_bytes(8, "little") * (1 + number * 7 % 32)


def is_whole(line):
    return len(line) >= 8 and line == line[:8] * (len(line) // 8)


class Torn(MailboxTest):
    READS = 1_000_000

    def test_no_line_is_torn(self):
        def write():
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            with Writer("box") as writer:
                lines = [line(number) for number in range(1, 1001)]
                while True:
                    for one in lines:
                        writer.write(one)

        reader = self.enter(Reader("box"))
        pid = fork(write)
        try:
            room = bytearray(256)
            view = memoryview(room)
            last = kinds = 0
            lengths = set()
            reads = 0
            while reads < self.READS:
                # Mostly the quick way; the others in turn.
                for _ in range(1000):
                    one = reader.read(LIMIT)
                    if one != one[:8] * (len(one) >> 3) or len(one) < 8:
                        self.fail(f"torn: {one!r}")
                lengths.add(len(one))
                for _ in range(10):
                    one = view[: reader.read_into(room, LIMIT)]
                    self.assertTrue(is_whole(bytes(one)), bytes(one))
                    self.assertTrue(is_whole(reader.latest()))
                self.assertGreater(reader.number, last)
                last = reader.number
                reads += 1020
            self.assertGreater(len(lengths), 10)
        finally:
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)


class Killed(MailboxTest):
    KILLS = 200

    def test_a_killed_writer_leaves_its_last_line_and_the_next_goes_on(self):
        def write():
            with Writer("box", capacity=256) as writer:
                number = reader.number
                while True:
                    number += 1
                    writer.write(line(number))

        reader = self.enter(Reader("box"))
        last = 0
        for kill in range(self.KILLS):
            pid = fork(write)
            for _ in range(1 + kill % 5):
                one = reader.read(LIMIT)
                self.assertTrue(is_whole(one))
                self.assertGreater(reader.number, last)
                last = reader.number
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            self.assertTrue(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status)
            with Reader("box") as late:
                self.assertTrue(is_whole(late.read(0)))
                self.assertGreaterEqual(late.number, last)
            if reader.try_read() is not None:
                last = reader.number
            self.assertEqual(late.number, last)
            self.assertIs(reader.writer_alive, False)
