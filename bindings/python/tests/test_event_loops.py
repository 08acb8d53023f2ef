"""The descriptor, in select, poll, selectors and asyncio.

| subject | cases                                                                                                |
|---------|------------------------------------------------------------------------------------------------------|
| ready   | at first, for a line, for a mailbox that appears; two mailboxes; the same number always               |
| asyncio | lines; several tasks, several loops; cancelled; timed out; closed by the loop or by a thread; loop gone; nothing left registered |
"""

import asyncio
import gc
import os
import select
import selectors
import threading
import time
import warnings

from shm_mailbox import Reader, Writer, _asyncio
from support import LIMIT, MailboxTest, wait_until


class Descriptor(MailboxTest):
    def drain(self, reader):
        lines = []
        while (line := reader.try_read()) is not None:
            lines.append(line)
        return lines

    def test_it_is_ready_at_first_and_for_each_line(self):
        writer, reader = self.enter(Writer("box")), self.enter(Reader("box"))
        self.assertEqual(select.select([reader], [], [], LIMIT)[0], [reader])
        self.assertEqual(self.drain(reader), [])
        for number in range(100):
            writer.write(str(number))
            seen = []
            while not seen:
                self.assertTrue(select.select([reader.fileno()], [], [], LIMIT)[0])
                seen = self.drain(reader)
            self.assertEqual(seen, [str(number).encode()])

    def test_a_line_makes_it_ready_and_not_the_end_of_a_slice(self):
        writer, reader = self.enter(Writer("box")), self.enter(Reader("box"))
        poll = select.poll()
        poll.register(reader, select.POLLIN)

        def measure():
            self.drain(reader)
            times = []
            for _ in range(21):
                time.sleep(0.001)
                started = time.monotonic()
                writer.write("x")
                poll.poll(LIMIT * 1000)
                times.append(time.monotonic() - started)
                self.drain(reader)
            return sorted(times)[10]

        self.best_of(5, 0.025, measure)

    def test_its_number_stays_and_comes_before_the_mailbox(self):
        reader = self.enter(Reader("box"))
        fd = reader.fileno()
        for capacity in [10, 5000]:
            with Writer("box", capacity=capacity) as writer:
                writer.write("x")
                self.assertTrue(select.select([fd], [], [], LIMIT)[0])
                self.assertEqual(self.drain(reader), [b"x"])
            self.assertEqual(reader.fileno(), fd)
        reader.close()
        with self.assertRaises(OSError):
            os.fstat(fd)

    def test_selectors_tell_mailboxes_apart(self):
        readers = {name: self.enter(Reader(name)) for name in "ab"}
        with selectors.DefaultSelector() as selector:
            for name, reader in readers.items():
                selector.register(reader, selectors.EVENT_READ, name)
            for name in "abba":
                with Writer(name) as writer:
                    number = writer.write("x")
                seen = None
                while seen is None:
                    for key, _ in selector.select(LIMIT):
                        for _ in self.drain(key.fileobj):
                            seen = key.data, key.fileobj.number
                self.assertEqual(seen, (name, number))


class Asyncio(MailboxTest):
    def setUp(self):
        super().setUp()
        self.writer = self.enter(Writer("box"))
        self.reader = Reader("box")
        self.addCleanup(self.reader.close)

    def tearDown(self):
        self.assertEqual(_asyncio._waiting, {}, "somebody waits still")

    def descriptors(self):
        return len(os.listdir("/proc/self/fd"))

    async def collect(self, lines, reader=None):
        async for line in reader or self.reader:
            lines.append(line)
        return lines

    async def asleep(self, many):
        """Until so many tasks wait. They have looked by then, so that a line from now on wakes them."""
        while len(_asyncio._waiting) != many:
            await asyncio.sleep(0)

    def test_lines_come_as_they_are_written(self):
        async def main():
            seen = []
            async for line in self.reader:
                seen.append(line)
                if len(seen) == 200:
                    return seen
                asyncio.get_running_loop().call_soon(self.writer.write, str(len(seen)))

        self.writer.write("0")
        self.assertEqual(asyncio.run(main()), [str(number).encode() for number in range(200)])

    def test_a_task_that_waits_lets_others_run(self):
        async def main():
            lines = []
            task = asyncio.create_task(self.collect(lines))
            for number in range(20):
                await self.asleep(1)
                await asyncio.sleep(0.001)
                self.writer.write(str(number))
                while len(lines) <= number:
                    await asyncio.sleep(0)
            self.reader.close()
            return await asyncio.wait_for(task, LIMIT)

        self.assertEqual(len(asyncio.run(main())), 20)

    def test_each_line_goes_to_one_of_several_tasks_and_each_is_served_by_another_reader(self):
        async def main():
            other = Reader("box")
            shared, own = [], []
            tasks = [asyncio.create_task(self.collect(shared)) for _ in range(5)]
            tasks.append(asyncio.create_task(self.collect(own, other)))
            for number in range(50):
                await self.asleep(6)
                self.writer.write(str(number))
                while len(shared) <= number or len(own) <= number:
                    await asyncio.sleep(0)
            self.reader.close()
            other.close()
            await asyncio.wait_for(asyncio.gather(*tasks), LIMIT)
            return shared, own

        expected = [str(number).encode() for number in range(50)]
        shared, own = asyncio.run(main())
        self.assertEqual(shared, expected)
        self.assertEqual(own, expected)

    def test_a_cancelled_task_leaves_the_line_to_the_next(self):
        async def main():
            before = None
            nobody = len(asyncio.get_running_loop()._selector.get_map())
            for number in range(20):
                task = asyncio.create_task(anext(aiter(self.reader)))
                await self.asleep(1)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                registered = len(asyncio.get_running_loop()._selector.get_map())
                before = before or self.descriptors()
                self.assertEqual((self.descriptors(), registered), (before, nobody))
                with self.assertRaises(TimeoutError):
                    await asyncio.wait_for(anext(aiter(self.reader)), 0.001)
                self.writer.write(str(number))
                self.assertEqual(await anext(aiter(self.reader)), str(number).encode())

        asyncio.run(main())

    def test_cancelled_while_the_line_is_there_it_is_not_lost(self):
        async def main():
            task = asyncio.create_task(anext(aiter(self.reader)))
            await self.asleep(1)
            self.writer.write("x")
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            return await anext(aiter(self.reader))

        self.assertEqual(asyncio.run(main()), b"x")

    def test_closing_ends_the_loops(self):
        async def main():
            tasks = [asyncio.create_task(self.collect([])) for _ in range(3)]
            await self.asleep(3)
            self.reader.close()
            return await asyncio.wait_for(asyncio.gather(*tasks), LIMIT)

        self.assertEqual(asyncio.run(main()), [[], [], []])
        with self.assertRaises(ValueError):
            aiter(self.reader)

    def test_a_thread_may_close_while_loops_in_several_threads_wait(self):
        results = []

        def run():
            results.append(asyncio.run(self.collect([])))

        for _ in range(20):
            self.reader = Reader("box", skip_current=True)
            threads = [threading.Thread(target=run) for _ in range(3)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(_asyncio._waiting) == 3)
            self.reader.close()
            for thread in threads:
                thread.join()
        self.assertEqual(results, [[]] * 60)

    def test_a_loop_that_is_closed_with_a_task_in_it(self):
        before = None
        for _ in range(5):
            loop = asyncio.new_event_loop()
            task = loop.create_task(self.collect([]))
            loop.run_until_complete(self.asleep(1))
            loop.close()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "Task was destroyed but it is pending": so it was, on purpose
                loop.set_exception_handler(lambda *_: None)
                task._log_destroy_pending = False
                del task, loop
                gc.collect()
            self.assertEqual(_asyncio._waiting, {})
            before = before or self.descriptors()
            self.assertEqual(self.descriptors(), before)
        self.writer.write("x")
        self.assertEqual(asyncio.run(anext_of(self.reader)), b"x")

    def test_a_reader_closed_after_its_loop(self):
        loop = asyncio.new_event_loop()
        task = loop.create_task(self.collect([]))
        loop.run_until_complete(self.asleep(1))
        loop.close()
        self.reader.close()
        task._log_destroy_pending = False
        del task
        gc.collect()

    def test_one_loop_after_another(self):
        for number in range(5):
            self.writer.write(str(number))
            self.assertEqual(asyncio.run(anext_of(self.reader)), str(number).encode())

    def test_an_idle_task_costs_ten_looks_a_second(self):
        async def main():
            looks = 0
            task = asyncio.create_task(self.collect([]))
            await self.asleep(1)
            step = asyncio.get_running_loop()._run_once

            def count():
                nonlocal looks
                looks += 1
                step()

            asyncio.get_running_loop()._run_once = count
            await asyncio.sleep(0.5)
            task.cancel()
            return looks

        # Each look is some turns of the loop.
        self.assertIn(asyncio.run(main()), range(5, 100))


async def anext_of(reader):
    return await anext(aiter(reader))
