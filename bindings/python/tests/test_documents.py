"""What is written about the package is true: docstrings, stubs, the read-me, the examples."""

import ast
import doctest
import inspect
import pathlib
import re
import signal
import subprocess
import sys
import unittest

import shm_mailbox
from shm_mailbox import Reader, Writer
from support import LIMIT, MailboxTest

HERE = pathlib.Path(__file__).resolve().parent
STUBS = pathlib.Path(shm_mailbox.__file__).with_name("_native.pyi")


class Examples(MailboxTest):
    def test_docstrings(self):
        tests = doctest.DocTestFinder().find(shm_mailbox)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        said = []
        tried = [test.name for test in tests if runner.run(test, out=said.append).attempted]
        self.assertEqual(runner.failures, 0, "".join(said))
        for name in ["", ".Writer", ".Writer.write", ".Reader", *(f".Reader.{name}" for name in METHODS)]:
            self.assertIn("shm_mailbox" + name, tried)

    def test_everything_is_documented(self):
        for thing in [Reader, Writer]:
            for name, value in vars(thing).items():
                if not name.startswith("_"):
                    self.assertTrue(inspect.getdoc(value), name)

    def test_the_read_me(self):
        self.check_blocks(HERE.parent / "README.md")

    def check_blocks(self, path):
        """Runs the Python blocks of a document that are sessions."""
        blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        sessions = [block for block in blocks if block.startswith(">>> ")]
        self.assertTrue(sessions)
        for block in sessions:
            test = doctest.DocTestParser().get_doctest(block, {}, path.name, str(path), 0)
            said = []
            result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
            self.assertEqual(result.failed, 0, "".join(said))

    def test_the_two_programs(self):
        """The question's: the reader blocks while nothing is new, and either may restart."""
        sensor, display = ([sys.executable, str(HERE.parent / "examples" / name)] for name in ["sensor.py", "display.py"])
        for restart in range(2):
            reader = subprocess.Popen(display, stdout=subprocess.PIPE, text=True)
            writer = subprocess.Popen(sensor)
            try:
                lines = [reader.stdout.readline() for _ in range(3)]
                for line in lines:
                    self.assertRegex(line, r"^\d\d:\d\d:\d\d\.\d+ \(\d+ missed\)\n$")
            finally:
                for process in [reader, writer]:
                    process.send_signal(signal.SIGKILL if restart == 0 else signal.SIGTERM)
                    process.wait(LIMIT)
                reader.stdout.close()
        with Reader("clock") as reader:
            self.assertIsNotNone(reader.latest())
            self.assertIs(reader.writer_alive, False)


METHODS = ["read", "readline", "read_into", "try_read", "latest"]


class Stubs(unittest.TestCase):
    def test_stubs_say_what_the_module_has(self):
        tree = ast.parse(STUBS.read_text())
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.assertEqual(sorted(classes), sorted(shm_mailbox.__all__))
        for name in ["Reader", "Writer"]:
            self.check(getattr(shm_mailbox, name), classes[name])

    def check(self, thing, node):
        stubs = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        inherited = {"__repr__", "__doc__", "__module__", "__slotnames__"}
        self.assertEqual(sorted(stubs), sorted(set(vars(thing)) - inherited))
        for name, stub in stubs.items():
            value = inspect.getattr_static(thing, name)
            is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in stub.decorator_list)
            self.assertEqual(is_property, inspect.isdatadescriptor(value), name)
            if is_property or name in ("__iter__", "__next__", "__aiter__"):
                continue
            signature = inspect.signature(thing if name == "__new__" else value)
            actual = [
                (p.name, p.kind, p.default) for p in signature.parameters.values() if p.name not in ("self", "cls")
            ]
            self.assertEqual(self.parameters(stub), actual, f"{thing.__name__}.{name}")

    def parameters(self, stub):
        kinds = inspect.Parameter
        arguments = stub.args
        defaults = [kinds.empty] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
        found = [(a.arg, kinds.POSITIONAL_OR_KEYWORD, d) for a, d in zip(arguments.args, defaults)][1:]
        if arguments.vararg:
            found.append((arguments.vararg.arg, kinds.VAR_POSITIONAL, kinds.empty))
        found += [(a.arg, kinds.KEYWORD_ONLY, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults)]
        return [(n, k, d if d is kinds.empty else ast.literal_eval(d)) for n, k, d in found]

    def test_the_package_is_marked_as_typed(self):
        self.assertTrue(STUBS.with_name("py.typed").exists())

    def test_stubs_by_mypy(self):
        try:
            import mypy  # noqa: F401
        except ImportError:
            self.skipTest("mypy is not installed")
        # Where mypy finds the package: installed, or in the directory it is started in.
        place = STUBS.parent.parent
        place = HERE if place.name == "site-packages" else place
        for command in [
            ["mypy.stubtest", "shm_mailbox._native"],
            ["mypy", "--strict", "--package", "shm_mailbox"],
        ]:
            result = subprocess.run(
                [sys.executable, "-m", *command],
                capture_output=True,
                text=True,
                check=False,
                cwd=place,
            )
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
