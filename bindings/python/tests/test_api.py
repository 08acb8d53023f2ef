"""What each call does, in one process.

| subject   | cases                                                                                        |
|-----------|----------------------------------------------------------------------------------------------|
| lines in  | str (final newline, surrogates), bytes, bytearray, memoryview, arrays, strided, too long      |
| lines out | read, readline, read_into (too small, read-only), try_read, latest; number, missed, age        |
| objects   | close, with, repr, pickle, unclosed, not subclassed                                           |
| errors    | each as Python's own, with its number                                                         |
| leaks     | descriptors, mappings, memory                                                                 |
"""

import array
import copy
import errno
import gc
import os
import pickle
import subprocess
import sys
import unittest
import warnings
from multiprocessing import resource_tracker

import shm_mailbox
from shm_mailbox import MailboxBusy, Reader, Writer
from support import MailboxTest

try:
    import numpy
except ImportError:
    numpy = None


class Lines(MailboxTest):
    def setUp(self):
        super().setUp()
        self.writer = self.enter(Writer("box", capacity=100))
        self.reader = self.enter(Reader("box"))

    def through(self, line):
        self.writer.write(line)
        return self.reader.read(0)

    def test_text_loses_one_final_newline_and_bytes_are_kept(self):
        for line, kept in [
            ("a", b"a"),
            ("a\n", b"a"),
            ("a\n\n", b"a\n"),
            ("\n", b""),
            ("", b""),
            ("a\r\n", b"a\r"),
            ("ü€😀\n", "ü€😀".encode()),
            (b"a\n", b"a\n"),
            (b"", b""),
            (b"\0\xff", b"\0\xff"),
        ]:
            self.assertEqual(self.through(line), kept, line)

    def test_text_that_is_not_utf8_goes_through_as_surrogates(self):
        text = os.fsdecode(b"caf\xe9")
        self.assertEqual(self.through(text), b"caf\xe9")
        self.assertEqual(self.through(text + "\n"), b"caf\xe9")
        self.writer.write(b"caf\xe9")
        self.assertEqual(self.reader.readline(0), text + "\n")
        with self.assertRaises(UnicodeEncodeError):
            self.writer.write("\ud800")
        self.assertEqual(self.reader.latest(), b"caf\xe9")

    def test_readline_has_exactly_one_final_newline(self):
        for line in [b"a", b"a\n", "a", "a\n"]:
            self.writer.write(line)
            self.assertEqual(self.reader.readline(0), "a\n")
        self.writer.write(b"")
        self.assertEqual(self.reader.readline(0), "\n")

    def test_whatever_has_bytes_can_be_written(self):
        words = array.array("H", [1, 2, 3])
        for line in [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabcx")[1:4]]:
            self.assertEqual(self.through(line), b"abc")
        self.assertEqual(self.through(words), words.tobytes())
        self.assertEqual(self.through(memoryview(words)), words.tobytes())
        self.assertEqual(self.through(bytearray()), b"")
        for line in [memoryview(b"abcdef")[::2], memoryview(b"abc")[::-1]]:
            with self.assertRaises(BufferError):
                self.writer.write(line)
        for line in [None, 5, 1.5, ["a"], object()]:
            with self.assertRaises(TypeError):
                self.writer.write(line)
        self.assertIsNone(self.reader.try_read())

    @unittest.skipUnless(numpy, "numpy is not installed")
    def test_arrays_of_numpy(self):
        numbers = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
        self.assertEqual(self.through(numbers), numbers.tobytes())
        into = numpy.zeros((3, 4), dtype=numpy.float32)
        self.writer.write(numbers)
        self.assertEqual(self.reader.read_into(into, 0), numbers.nbytes)
        self.assertTrue((into == numbers).all())
        for line in [numbers.T, numbers[:, ::2]]:
            with self.assertRaises((BufferError, ValueError)):
                self.writer.write(line)
        with self.assertRaises((BufferError, ValueError)):
            self.reader.read_into(into.T, 0)

    def test_buffers_are_let_go_of(self):
        line, room = bytearray(b"abc"), bytearray(3)
        self.writer.write(line)
        self.reader.read_into(room, 0)
        self.writer.write(bytearray(b"x") * 50)
        for attempt in [lambda: self.reader.read_into(room, 0), lambda: self.writer.write(bytearray(101))]:
            with self.assertRaises(ValueError):
                attempt()
        line.append(1)
        room.append(1)

    def test_a_line_too_long_is_refused_in_numbers_and_the_last_one_stays(self):
        self.writer.write("last")
        with self.assertRaisesRegex(ValueError, "101 bytes.* 100") as caught:
            self.writer.write("x" * 101)
        self.assertEqual((caught.exception.length, caught.exception.capacity), (101, 100))
        self.assertEqual(self.writer.write("x" * 100 + "\n"), 2)
        self.assertEqual(self.reader.read(0), b"x" * 100)

    def test_a_line_that_does_not_fit_the_buffer_is_kept(self):
        self.writer.write("first")
        self.writer.write("12345")
        room = bytearray(b"....")
        with self.assertRaisesRegex(ValueError, "5 bytes.* 4") as caught:
            self.reader.read_into(room, 0)
        self.assertEqual((caught.exception.length, caught.exception.room), (5, 4))
        self.assertEqual((self.reader.number, self.reader.missed), (0, 0))
        room += b".."
        self.assertEqual(self.reader.read_into(room, 0), 5)
        self.assertEqual(room, b"12345.")
        self.assertEqual((self.reader.number, self.reader.missed), (2, 0))
        with self.assertRaises(TimeoutError):
            self.reader.read_into(room, 0)

    def test_only_what_can_be_written_is_read_into(self):
        self.writer.write("abc")
        for buffer, error in [
            (b"...", TypeError),
            ("...", TypeError),
            (None, TypeError),
            (memoryview(b"..."), BufferError),
            (memoryview(bytearray(6))[::2], BufferError),
        ]:
            with self.assertRaises(error):
                self.reader.read_into(buffer, 0)
        self.assertEqual(self.reader.read(0), b"abc")

    def test_numbers_and_missed_count(self):
        self.assertEqual((self.reader.number, self.reader.missed, self.reader.age), (0, 0, None))
        self.assertEqual([self.writer.write("x") for _ in range(3)], [1, 2, 3])
        self.reader.read()
        self.assertEqual((self.reader.number, self.reader.missed), (3, 0))
        for _ in range(4):
            self.writer.write("x")
        self.assertEqual(self.reader.try_read(), b"x")
        self.assertEqual((self.reader.number, self.reader.missed), (7, 3))
        self.assertIsNone(self.reader.try_read())
        self.assertEqual(self.reader.latest(), b"x")
        self.assertEqual((self.reader.number, self.reader.missed), (7, 0))

    def test_lines_carry_a_time_unless_told_otherwise(self):
        self.writer.write("x")
        self.reader.read()
        self.assertGreaterEqual(self.reader.age, 0)
        self.assertLess(self.reader.age, 60)
        with Writer("bare", timestamps=False) as writer, Reader("bare") as reader:
            writer.write("x")
            reader.read()
            self.assertIsNone(reader.age)

    def test_the_current_line_can_be_passed_over(self):
        self.writer.write("old")
        with Reader("box", skip_current=True) as reader:
            self.assertIsNone(reader.try_read())
            self.writer.write("new")
            self.assertEqual(reader.read(0), b"new")

    def test_iterating_gives_each_newer_line(self):
        self.writer.write("1")
        lines = iter(self.reader)
        self.assertEqual(next(lines), b"1")
        self.writer.write("2")
        self.writer.write("3")
        for line in self.reader:
            self.assertEqual(line, b"3")
            break


class Objects(MailboxTest):
    def test_closing(self):
        writer, reader = Writer("box"), Reader("box")
        writer.write("x")
        reader.read()
        for thing in [writer, reader]:
            self.assertFalse(thing.closed)
            thing.close()
            thing.close()
            self.assertTrue(thing.closed)
            with self.assertRaisesRegex(ValueError, "closed"):
                with thing:
                    pass
        uses = ["fileno", "read", "readline", "try_read", "latest", "__iter__", "__aiter__"]
        for use in [lambda: writer.write("x"), *(getattr(reader, name) for name in uses)]:
            with self.assertRaisesRegex(ValueError, "closed"):
                use()
        with self.assertRaisesRegex(ValueError, "closed"):
            reader.writer_alive
        self.assertEqual((reader.number, reader.missed), (1, 0))

    def test_a_closed_writer_leaves_the_mailbox_and_the_numbers(self):
        with Writer("box") as writer:
            writer.write("last")
        with Reader("box") as reader:
            self.assertIs(reader.writer_alive, False)
            self.assertEqual(reader.read(0), b"last")
            with Writer("box") as writer:
                self.assertIs(reader.writer_alive, True)
                self.assertEqual(writer.write("next"), 2)

    def test_unclosed_ones_are_complained_of(self):
        for make in [Writer, Reader]:
            with self.assertWarnsRegex(ResourceWarning, f"unclosed shm_mailbox.{make.__name__} of {self.dir}/box"):
                thing = make("box")
                del thing
                gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Writer("box") as writer:
                pass
            del writer

    def test_an_exception_survives_the_warning(self):
        def fail():
            thing = Reader("box")
            raise KeyError(thing.number)

        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            with self.assertRaises(KeyError):
                fail()

    def test_a_reader_is_pickled_as_its_name_and_options(self):
        writer = self.enter(Writer("box"))
        writer.write("1")
        reader = self.enter(Reader("box", dir=os.path.relpath(self.dir), owner=os.getuid()))
        reader.read()
        for duplicate in [copy.copy, *(lambda r, p=p: pickle.loads(pickle.dumps(r, p)) for p in (2, 3, 4, 5))]:
            with duplicate(reader) as twin:
                self.assertEqual(repr(twin), repr(reader))
                self.assertEqual(twin.read(0), b"1")
        former = os.getcwd()
        try:
            os.chdir("/")
            with pickle.loads(pickle.dumps(reader)) as twin:
                self.assertEqual(twin.read(0), b"1")
        finally:
            os.chdir(former)
        reader = self.enter(Reader("box", skip_current=True))
        with pickle.loads(pickle.dumps(reader)) as twin:
            self.assertIsNone(twin.try_read())

    def test_a_writer_is_not_pickled(self):
        writer = self.enter(Writer("box"))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with self.assertRaisesRegex(TypeError, "cannot be pickled"):
                pickle.dumps(writer, protocol)

    def test_what_is_shown(self):
        writer = Writer("box")
        self.assertEqual(repr(writer), f"<shm_mailbox.Writer of {self.dir}/box>")
        writer.close()
        self.assertEqual(repr(writer), f"<shm_mailbox.Writer of {self.dir}/box (closed)>")

    def test_names_are_paths_too(self):
        with Writer(f"{self.dir}/box") as writer:
            writer.write("x")
        with Reader("box", dir=self.dir) as reader:
            self.assertEqual(reader.read(0), b"x")
        del os.environ["MAILBOX_DIR"]
        self.addCleanup(os.environ.__setitem__, "MAILBOX_DIR", self.dir)
        with Reader(os.path.join(self.dir, "box")) as reader:
            self.assertEqual(reader.read(0), b"x")

    def test_nothing_is_unlinked_or_tracked(self):
        with Writer("box") as writer, Reader("box") as reader:
            writer.write("x")
            reader.read()
        self.assertEqual(sorted(os.listdir(self.dir)), ["box", "box.bell", "box.lock"])
        self.assertIsNone(resource_tracker._resource_tracker._fd)
        text = "import shm_mailbox as m; w = m.Writer('left'); w.write('x'); r = m.Reader('left'); r.read()"
        subprocess.run([sys.executable, "-W", "ignore", "-c", text], check=True)
        with Reader("left") as reader:
            self.assertEqual(reader.read(0), b"x")


class Errors(MailboxTest):
    def test_another_writer(self):
        self.enter(Writer("box"))
        with self.assertRaisesRegex(MailboxBusy, "another writer has it") as caught:
            Writer("box")
        self.assertIsInstance(caught.exception, BlockingIOError)
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        self.assertEqual(caught.exception.filename, f"{self.dir}/box")

    def test_what_the_system_refuses(self):
        with self.assertRaisesRegex(FileNotFoundError, "no directory") as caught:
            Writer("box", dir=f"{self.dir}/missing")
        self.assertEqual((caught.exception.errno, caught.exception.filename), (errno.ENOENT, f"{self.dir}/missing/box"))
        with self.assertRaises(FileNotFoundError):
            Reader("box", dir=f"{self.dir}/missing")
        os.mkdir(f"{self.dir}/open", 0o777)
        os.chmod(f"{self.dir}/open", 0o777)
        for make in [Writer, Reader]:
            with self.assertRaisesRegex(PermissionError, "writable by everybody") as caught:
                make("box", dir=f"{self.dir}/open")
            self.assertEqual(caught.exception.errno, errno.EPERM)
        with open(f"{self.dir}/text", "w") as file:
            file.write("no mailbox" * 1000)
        for make in [Writer, Reader]:
            with self.assertRaises(OSError) as caught:
                make("text")
            self.assertEqual(caught.exception.errno, errno.EINVAL)

    @unittest.skipUnless(os.getuid() == 0, "only root can become somebody else")
    def test_what_belongs_to_another(self):
        with Writer("box"):
            os.chmod(self.dir, 0o755)
        text = f"import os, shm_mailbox; os.setuid(65534); shm_mailbox.Reader('{self.dir}/box')"
        result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
        self.assertRegex(result.stderr, r"\nPermissionError: .* mode 0600", result.stderr)

    def test_what_is_asked_wrongly(self):
        for make, name, options in [
            (Writer, "", {}),
            (Reader, "..", {}),
            (Writer, "x.lock", {}),
            (Writer, "box", {"capacity": 0}),
            (Writer, "box", {"capacity": -1}),
            (Writer, "box", {"mode": 0o777}),
            (Reader, "box", {"owner": "no such user"}),
        ]:
            with self.assertRaises(ValueError, msg=(name, options)):
                make(name, **options)
        for make, arguments, options in [
            (Writer, (), {}),
            (Writer, (5,), {}),
            (Writer, ("box", 100), {}),
            (Writer, ("box",), {"size": 100}),
            (Reader, ("box",), {"owner": 1.5}),
            (Reader, ("box", True), {}),
        ]:
            with self.assertRaises(TypeError, msg=(arguments, options)):
                make(*arguments, **options)

    def test_options_that_are_none_take_what_is_there(self):
        with Writer("box", capacity=None, mode=None, dir=None, owner=None) as writer:
            writer.write("x" * 4096)
            self.assertRaises(ValueError, writer.write, "x" * 4097)
        self.assertEqual(os.stat(f"{self.dir}/box").st_mode & 0o777, 0o600)
        with Writer("shared", mode=0o644, capacity=10):
            pass
        with Writer("shared") as writer:
            self.assertRaises(ValueError, writer.write, "x" * 11)
        self.assertEqual(os.stat(f"{self.dir}/shared").st_mode & 0o777, 0o644)
        with self.assertRaises(ValueError):
            Writer("shared", mode=0o600)

    def test_a_larger_capacity_makes_the_mailbox_larger(self):
        with Writer("box", capacity=10) as writer:
            writer.write("last")
        reader = self.enter(Reader("box"))
        with Writer("box", capacity=5000) as writer:
            self.assertEqual(reader.read(0), b"last")
            self.assertEqual(writer.write("x" * 5000), 2)
            self.assertEqual(reader.read(0), b"x" * 5000)

    def test_a_removed_mailbox(self):
        writer = self.enter(Writer("box"))
        for name in os.listdir(self.dir):
            os.unlink(f"{self.dir}/{name}")
        # Swept away by strangers: put back.
        for _ in range(1025):
            writer.write("x")
        self.assertIn("box", os.listdir(self.dir))


class Leaks(MailboxTest):
    def test_nothing_is_left_behind(self):
        buffer = bytearray(100)

        def use():
            with Writer("box") as writer, Reader("box") as reader:
                writer.write("text")
                writer.write(b"bytes")
                writer.write(bytearray(b"buffer"))
                reader.fileno()
                reader.read(0), reader.latest(), reader.try_read()
                writer.write("1\udcff")
                reader.readline(0)
                writer.write("2")
                reader.read_into(buffer, 0)
                for attempt in [
                    lambda: reader.read(0.0001),
                    lambda: writer.write("x" * 5000),
                    lambda: writer.write(None),
                    lambda: reader.read_into(b""),
                    lambda: Writer("box/", capacity=0),
                ]:
                    self.assertRaises(Exception, attempt)
                pickle.loads(pickle.dumps(reader)).close()

        def held():
            with open("/proc/self/maps") as maps, open("/proc/self/statm") as statm:
                mappings = sum("mailbox-test" in line or "eventpoll" in line for line in maps)
                resident = int(statm.read().split()[1])
            return len(os.listdir("/proc/self/fd")), mappings, resident

        for _ in range(300):
            use()
        gc.collect()
        blocks, before = sys.getallocatedblocks(), held()
        for _ in range(1000):
            use()
        gc.collect()
        after = held()
        self.assertEqual(before[:2], after[:2])
        # A leak of an object, a handle or a small line would show a thousandfold.
        self.assertLess(sys.getallocatedblocks() - blocks, 300)
        self.assertLess(after[2] - before[2], 100, "pages")

    def test_reads_and_writes_leave_no_object(self):
        with Writer("box") as writer, Reader("box") as reader:
            line, buffer = b"x" * 1000, bytearray(1000)
            for many in [200, 20_000]:
                blocks = sys.getallocatedblocks()
                for _ in range(many):
                    writer.write(line)
                    reader.read()
                    writer.write("text")
                    reader.readline()
                    writer.write(line)
                    reader.read_into(buffer)
                    reader.latest()
                    reader.number, reader.missed, reader.age
                grown = sys.getallocatedblocks() - blocks
            self.assertLess(grown, 200)
            self.assertEqual(sys.getrefcount(line), sys.getrefcount(bytes(b"y" * 1000)) + 1)


class Package(unittest.TestCase):
    def test_it_names_what_it_offers(self):
        self.assertEqual(shm_mailbox.__all__, ["MailboxBusy", "Reader", "Writer"])
        for name in shm_mailbox.__all__:
            self.assertEqual(getattr(shm_mailbox, name).__module__, "shm_mailbox")
            self.assertTrue(getattr(shm_mailbox, name).__doc__)

    def test_classes_are_final(self):
        for thing in [Reader, Writer]:
            with self.assertRaises(TypeError):
                type("Sub", (thing,), {})


class Frozen(MailboxTest):
    def test_objects_take_no_attributes(self):
        with Writer("box") as writer, Reader("box") as reader:
            for thing, name in [(writer, "closed"), (reader, "number"), (reader, "own")]:
                with self.assertRaises(AttributeError):
                    setattr(thing, name, 1)
