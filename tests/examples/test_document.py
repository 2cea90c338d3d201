"""The program in docs/clients.md, as a stranger copies it: it runs, and his type checker agrees."""

import re
import subprocess
import sys
from pathlib import Path

from tests.client.brokers import speakers
from tests.examples.running import program

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"


def documented_program() -> str:
    (text,) = re.findall(
        r"^```python\n(import asyncio\n.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    assert isinstance(text, str)
    return text


async def test_the_program_of_the_document_runs(tmp_path: Path) -> None:
    async with speakers("white", "black") as (white, black):
        for each in (white, black):
            await each.names("white", 7)
        text = documented_program()
        for each in (white, black):
            assert text.count(f'"{each.name}:1883"') == 1
            text = text.replace(f"{each.name}:1883", each.address)
        file = tmp_path / "program.py"
        file.write_text(text)
        async with program(sys.executable, "-u", "-W", "error", str(file)) as running:
            assert await running.next_line() == "Hot(node='white', term=7, reason='died')"
            assert await running.next_line() == "plant/pump/set b'on'"


def test_a_strict_type_checker_knows_what_everything_is(tmp_path: Path) -> None:
    """From outside, with none of our settings: the library says that it is typed, and is."""
    file = tmp_path / "program.py"
    follow = "        async with group.follow"
    questions = "reveal_type(group.hot), reveal_type(await anext(group.changes()))"
    text = documented_program().replace(follow, f"        {questions}\n{follow}")
    assert questions in text
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(file)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found = re.findall(r'Revealed type is "([^"]*)"', done.stdout)
    assert found == ["edge.client.beliefs.Hot | None", "edge.client.group.Change"]
