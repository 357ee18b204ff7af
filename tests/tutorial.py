"""The package that docs/adapters.md writes, made of that page's very text."""

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

TEXT = (Path(__file__).parents[1] / "docs" / "adapters.md").read_text("utf-8")
# A file's name in the text, and the next block of code.
_FILE = re.compile(
    r"`(?:python )?([\w.]+\.(?:toml|py))`(?:(?!```|`[\w.]+\.(?:toml|py)`).)*?```(?:toml|python)\n(.*?)```", re.DOTALL
)
_BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"


def files() -> list[tuple[str, str]]:
    """The name and the content of each file of the text."""
    return _FILE.findall(TEXT)


def install(project: Path, target: Path) -> None:
    """Build the wheel as pip does, and unpack it in `target`, a directory for PYTHONPATH."""
    for name, source in files():
        (project / name).write_text(source, "utf-8")
    run([sys.executable, "-c", _BUILD], cwd=project)
    [wheel] = (project / "dist").glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(target)


def run(command: list[str], cwd: Path) -> str:
    """Run a program to its end, which must be a good one; its output."""
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
