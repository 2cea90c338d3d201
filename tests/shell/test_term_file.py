"""What must survive a power cut is whole or unchanged, and a damaged file is a clear refusal."""

import json
import os
from pathlib import Path

import pytest

from edge.adapters.term_file import Memory, TermFile, write_atomically
from edge.core.model import Pause, Saved
from edge.errors import OperatorError

SAVED = Saved(term=12, pause=Pause(3, is_on=True), secret_is_proven=True, was_synchronised=False)


def test_a_new_node_begins_with_nothing_in_its_first_life(tmp_path: Path) -> None:
    assert TermFile(tmp_path / "state" / "white").open("abc") == Memory(Saved(), 1, "abc")


def test_what_was_written_is_there_in_the_next_life(tmp_path: Path) -> None:
    memory = TermFile(tmp_path).open("abc")
    TermFile(tmp_path).write(Memory(SAVED, memory.boots, "abc"))
    assert TermFile(tmp_path).open("abc") == Memory(SAVED, 2, "abc")


def test_each_life_has_its_own_number_even_if_nothing_was_written(tmp_path: Path) -> None:
    assert [TermFile(tmp_path).open("abc").boots for _ in range(3)] == [1, 2, 3]


def test_a_new_secret_has_not_proven_good(tmp_path: Path) -> None:
    TermFile(tmp_path).write(Memory(SAVED, 1, "abc"))
    saved = TermFile(tmp_path).open("other").saved
    assert not saved.secret_is_proven
    assert saved.term == 12


def damaged(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "term": 1,
        "pause": [0, False],
        "secret_is_proven": False,
        "was_synchronised": True,
        "boots": 1,
        "secret_digest": "abc",
    }
    fields.update(changes)
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 64,
        b"[]",
        b"null",
        b'{"term":1}',
        damaged(term="x"),
        damaged(term=-1),
        damaged(term=2**60),
        damaged(boots=None),
        damaged(pause=[1]),
        damaged(pause=None),
    ],
)
def test_a_damaged_file_is_refused_with_its_cure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "term.json").write_bytes(content)
    with pytest.raises(OperatorError, match="delete it"):
        TermFile(tmp_path).open("abc")
    assert (tmp_path / "term.json").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OperatorError, match="state_dir"):
        TermFile(tmp_path / "file" / "white").open("abc")


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    TermFile(tmp_path).open("abc")
    assert (tmp_path / "term.json").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "term.json"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_the_content_is_synced_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "term.json"
    steps: list[str] = []
    sync = os.fsync

    def note_sync(descriptor: int) -> None:
        steps.append("renamed" if path.exists() else "synced")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note_sync)
    write_atomically(path, b"new")
    assert steps == ["synced", "renamed"]
