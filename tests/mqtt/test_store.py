"""The files: torn and damaged at every byte, refused by the disk, and what an operator is told."""

import errno
import os
import stat
from pathlib import Path

import pytest

from broker.errors import EngineError
from broker.routing.changes import Began, Cleared, Complete, Stored, UnreadableError, decode, encode
from broker.store import frames
from broker.store.files import AHEAD, DAMAGED_FILES, Store
from broker.store.memory import Memory

IDENTITY = frames.Identity(b"mark", 12345)


def retained(number: int, topic: str, payload: bytes = b"payload") -> bytes:
    return encode(Stored(number, 1, True, 0xFFFFFFFF, 0, topic.encode(), payload, b""))


TRANSACTIONS = [retained(number, f"topic/{number}") for number in range(1, 9)]


def whole_file() -> tuple[bytes, list[int]]:
    """Some transactions, and where each ends."""
    data, ends = frames.header(IDENTITY), []
    for each in TRANSACTIONS:
        data += frames.frame(IDENTITY, len(data), each)
        ends.append(len(data))
    return data, ends


def touched(ends: list[int], place: int) -> list[int]:
    """The transactions that this byte does not belong to."""
    starts = [frames.HEADER_SIZE, *ends]
    return [index for index, end in enumerate(ends) if not starts[index] <= place < end]


def test_a_file_torn_at_any_byte_has_all_that_was_whole() -> None:
    data, ends = whole_file()
    for size in range(len(data)):
        found = frames.scan(data[:size])
        assert found.transactions == TRANSACTIONS[: sum(end <= size for end in ends)]
        is_clean = size in {0, frames.HEADER_SIZE, *ends}
        assert bool(found.damaged) is not is_clean


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_damaged_byte_anywhere_costs_one_transaction(flip: int) -> None:
    data, ends = whole_file()
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= flip
        found = frames.scan(bytes(broken))
        assert found.transactions == [TRANSACTIONS[index] for index in touched(ends, place)]
        assert any(start <= place < end for start, end in found.damaged)


def test_a_frame_inside_a_payload_is_not_believed() -> None:
    """Who can write into a message must not be able to write into the file's structure."""
    forged = frames.frame(frames.Identity(b"made", 1), 0, retained(99, "forged"))
    data = frames.header(IDENTITY)
    start = len(data)
    data += frames.frame(IDENTITY, start, retained(1, "a", forged * 3))
    # Even a copy of one of our own frames is worth nothing at another place.
    second = len(data)
    data += frames.frame(IDENTITY, second, retained(2, "b", data[start:]))
    broken = bytearray(data)
    broken[start] ^= 1
    assert [each[:1] for each in frames.scan(bytes(broken)).transactions] == [b"M"]
    assert frames.scan(bytes(broken)).transactions[0].count(b"forged") == 3
    broken[second] ^= 1
    assert not frames.scan(bytes(broken)).transactions


def test_a_frame_of_another_file_is_not_believed() -> None:
    """Its mark may be the same by chance, or because somebody saw it."""
    data, _ = whole_file()
    other = frames.Identity(IDENTITY.mark, IDENTITY.seed + 1)
    found = frames.scan(data + frames.frame(other, len(data), retained(9, "other")))
    assert found.transactions == TRANSACTIONS
    assert len(found.damaged) == 1


def test_a_mark_at_the_end_of_a_damaged_payload_does_not_hide_the_next_frame() -> None:
    data = frames.header(IDENTITY)
    start = len(data)
    data += frames.frame(IDENTITY, start, retained(1, "a", b"ends with a " + IDENTITY.mark))
    data += frames.frame(IDENTITY, len(data), TRANSACTIONS[0])
    broken = bytearray(data)
    broken[start] ^= 1
    assert frames.scan(bytes(broken)).transactions == TRANSACTIONS[:1]


def test_a_file_of_another_version_is_not_read() -> None:
    data, _ = whole_file()
    assert frames.read_header(data) == IDENTITY
    assert frames.read_header(data.replace(b"edge\x00\x01", b"edge\x00\x02")) is None


@pytest.mark.parametrize(
    "change", [Complete(), Cleared(b"a"), Began(7, True, False, 60, b"client", b"")]
)
def test_what_is_cut_short_inside_a_transaction_is_unreadable(change: Complete) -> None:
    data = encode(change)
    assert list(decode(data)) == [change]
    for size in range(1, len(data)):
        with pytest.raises(UnreadableError):
            list(decode(data[:size]))
    with pytest.raises(UnreadableError):
        list(decode(b"\x00" + data))


def filled(directory: Path) -> Path:
    """A directory with a complete file in it."""
    store = Store(directory)
    store.load()
    store.begin()
    store.append([encode(Complete())])
    store.append(TRANSACTIONS)
    os.ftruncate(store._file, store.size)  # without the room that is set aside
    store.close()
    return directory / "log-00000001"


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def topics(memory: Memory) -> set[str]:
    return {each.decode() for each in memory.retained}


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = filled(tmp_path / "a" / "b")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_that_is_there_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Store(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_directory_of_others_stays_as_it_is(tmp_path: Path) -> None:
    """Somebody may have written `directory = "/tmp"`; the files alone are ours then."""
    (tmp_path / "of somebody").touch()
    tmp_path.chmod(0o1777)
    Store(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_what_is_no_log_does_not_matter(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "log-copy").write_bytes(b"mine")
    store = Store(tmp_path)
    assert store.load().is_tidy
    store.close()
    assert (tmp_path / "log-copy").read_bytes() == b"mine"


def test_no_two_files_have_the_same_mark(tmp_path: Path) -> None:
    path = filled(tmp_path)
    first = frames.read_header(path.read_bytes())
    store = Store(tmp_path)
    store.load()
    files = open_files()
    store.begin()
    assert open_files() == files  # the old one is closed
    store.close()
    assert frames.read_header((tmp_path / "log-00000002").read_bytes()) != first


def test_everything_is_synced_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written, then the name of the file; and the old one goes after that."""
    calls: list[tuple[str, str]] = []
    for name in ("pwrite", "fdatasync", "fsync"):
        real = getattr(os, name)

        def note(file: int, *rest: object, name: str = name, real: object = real) -> object:
            calls.append((name, Path(f"/proc/self/fd/{file}").readlink().name))
            return real(file, *rest)  # type: ignore[operator]

        monkeypatch.setattr(os, name, note)
    directory = tmp_path / "broker"
    store = Store(directory)
    store.load()
    store.begin()
    store.append(TRANSACTIONS)
    store.drop_older()
    store.close()
    written = [("pwrite", "log-00000001"), ("fdatasync", "log-00000001")]
    named = ("fsync", "broker")
    assert calls == [*written, named, *written, named]


def test_a_new_file_that_cannot_be_begun_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    store = Store(tmp_path)
    store.load()

    def refuse(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(OSError, match="No space"):
            store.begin()
    assert open_files() == files
    assert [each.name for each in tmp_path.iterdir()] == ["log-00000001"]
    store.append([retained(30, "later")])  # the old one is still in use
    store.close()
    again = Store(tmp_path)
    found = again.load()
    again.close()
    assert found.is_tidy
    assert "later" in topics(found.memory)


def test_it_starts_from_a_file_torn_at_any_byte_of_the_last_transactions(tmp_path: Path) -> None:
    path = filled(tmp_path)
    data = path.read_bytes()
    frame_size = (len(data) - frames.HEADER_SIZE) // (len(TRANSACTIONS) + 1)
    for size in range(len(data) - 3 * frame_size, len(data)):
        path.write_bytes(data[:size])
        store = Store(tmp_path)
        found = store.load()
        store.close()
        assert 4 <= len(topics(found.memory)) < len(TRANSACTIONS)
        if found.damages:
            assert not found.is_tidy
            assert str(path) in str(found.damages[0])
            assert found.damages[0].ranges[-1][1] == size


def test_what_cannot_be_read_is_put_aside_when_the_rest_is_safe(tmp_path: Path) -> None:
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    store = Store(tmp_path)
    found = store.load()
    assert topics(found.memory) == {f"topic/{number}" for number in range(1, 8)}
    store.begin()
    assert path.exists()
    store.append([*TRANSACTIONS[:7], encode(Complete())])
    store.drop_older()
    store.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["damaged-00000001", "log-00000002"]
    assert (tmp_path / "damaged-00000001").read_bytes() == data
    again = Store(tmp_path)
    assert topics(again.load().memory) == topics(found.memory)
    again.close()


def test_what_another_version_wrote_is_put_aside_too(tmp_path: Path) -> None:
    path = filled(tmp_path)
    store = Store(tmp_path)
    store.load()
    store.append([b"?" + TRANSACTIONS[0], b"?"])
    store.close()
    again = Store(tmp_path)
    found = again.load()
    assert not found.is_tidy
    assert [str(each) for each in found.damages] == [
        f"{path}: 2 transactions of another version cannot be read"
    ]
    assert len(topics(found.memory)) == len(TRANSACTIONS)
    again.begin()
    again.drop_older()
    again.close()
    assert (tmp_path / "damaged-00000001").exists()


def test_damaged_files_do_not_fill_the_disk(tmp_path: Path) -> None:
    for _ in range(DAMAGED_FILES + 3):
        store = Store(tmp_path)
        store.load()
        store.begin()
        store.append([encode(Complete())])
        store.drop_older()
        store.close()
        (path,) = tmp_path.glob("log-*")
        path.write_bytes(path.read_bytes() + b"torn")
    assert len(list(tmp_path.glob("damaged-*"))) == DAMAGED_FILES


def test_a_new_file_counts_only_when_it_is_complete(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Store(tmp_path)
    assert store.load().is_tidy
    store.begin()
    store.append([retained(20, "new"), retained(21, "topic/1", b"changed")])
    store.close()
    again = Store(tmp_path)
    found = again.load()
    assert not found.is_tidy
    assert len(topics(found.memory)) == len(TRANSACTIONS) + 1
    assert found.memory.retained[b"topic/1"].payload == b"changed"
    again.begin()
    again.append([retained(21, "only"), encode(Complete())])
    again.close()  # before the older ones were dropped
    last = Store(tmp_path)
    found = last.load()
    last.close()
    assert found.is_tidy
    assert topics(found.memory) == {"only"}
    assert len(list(tmp_path.iterdir())) == 1


def test_room_that_is_set_aside_is_no_damage(tmp_path: Path) -> None:
    path = filled(tmp_path)
    size = path.stat().st_size
    store = Store(tmp_path)
    store.load()
    store.append([retained(30, "later")])
    store.close()
    assert path.stat().st_size > size + AHEAD
    again = Store(tmp_path)
    assert again.load().is_tidy
    again.append([retained(31, "last")])
    again.close()
    last = Store(tmp_path)
    found = last.load()
    last.close()
    assert found.is_tidy
    assert {"later", "last"} <= topics(found.memory)


def test_a_torn_write_before_room_that_is_set_aside_is_damage() -> None:
    data, ends = whole_file()
    for size in range(ends[-2] + 1, ends[-1]):
        found = frames.scan(data[:size] + bytes(1000))
        assert found.transactions == TRANSACTIONS[:-1]
        assert [start for start, _ in found.damaged] == [ends[-2]]


def test_a_write_that_failed_half_way_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path)
    store = Store(tmp_path)
    store.load()
    real = os.pwrite

    def full(file: int, data: bytes, place: int) -> int:
        if place > store.size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:10], place)

    size = path.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            store.append([retained(30, "later")])
    assert path.stat().st_size == size
    store.append([retained(30, "later")])
    assert path.stat().st_size == store.size + AHEAD
    store.close()
    again = Store(tmp_path)
    found = again.load()
    again.close()
    assert found.is_tidy
    assert "later" in topics(found.memory)


def test_two_brokers_do_not_share_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.store.files.LOCK_PATIENCE", 0.1)
    store = Store(tmp_path)
    with pytest.raises(EngineError, match="in use by another broker"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may everything
    with pytest.raises(EngineError, match="it cannot be written"):
        Store(tmp_path)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError) as refused:
        Store(tmp_path / "file" / "broker")
    assert str(refused.value) == (
        f"{tmp_path}/file/broker: Not a directory; "
        "persistence needs a directory that this user may write to"
    )
