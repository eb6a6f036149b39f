"""The command line answers at once, and knows its own commands."""

from __future__ import annotations

import json
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.cli.examples import EXAMPLES
from tests.docs.test_docs import check_compress

COMMANDS = ["run", "check", "forecast", "calibrate-target", "ls", "show", "table", "verify", "bench", "schema"]
COMMANDS += ["compare", "export", "translate", "generate", "sweep", "frontier"]
HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "pyarrow", "PIL", "yaml", "rich", "timm", "transformers"}
HELP = "import sys, runpy\nsys.argv = ['compress', *sys.argv[1:]]\n"
HELP += "try:\n    runpy.run_module('compress', run_name='__main__')\n"
HELP += "finally:\n    print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"


def compress(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "compress", *arguments], capture_output=True, text=True, check=False)


# typer reads the parameters of a command with pydantic; without a command there are none.
@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], HEAVY | {"pydantic"}),
        (["run", "--help"], HEAVY),
        (["sweep", "--help"], HEAVY | {"ray"}),
        (["--version"], HEAVY),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str], heavy: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", HELP, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert heavy & set(done.stderr.split()) == set()


def test_help_takes_less_than_half_a_second_of_processor_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = compress("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_help_names_every_command_with_a_line_of_its_own() -> None:
    listed = re.findall(r"^  ([\w-]+)  +\S.*", compress("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert set(listed) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example_that_it_takes(name: str) -> None:
    told = CliRunner().invoke(app, [name, "--help"]).stdout.strip().splitlines()[-1].partition("Example: ")[2]
    assert told == EXAMPLES[name]
    program, *words = shlex.split(told)
    assert (program, words[0]) == ("compress", name)
    check_compress(words[: words.index(">")] if ">" in words else words)


def test_the_version_is_the_package_s() -> None:
    from compress import __version__

    assert compress("--version").stdout == f"compress {__version__}\n"


def test_an_unknown_command_or_option_is_bad_input() -> None:
    for arguments in (["rnu"], ["run", "--forec", "x.yaml"], ["run"]):
        done = compress(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "Usage: compress" in done.stderr


def test_the_schema_is_the_one_that_editors_read() -> None:
    import compress as package

    file = Path(package.__file__).parent / "recipe.schema.json"
    printed = compress("schema").stdout
    assert printed == file.read_text(encoding="utf-8")
    assert json.loads(printed)["title"] == "A recipe of compress"
