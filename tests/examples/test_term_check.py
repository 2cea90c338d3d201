"""The table that only the newest hot node may change, in a real PostgreSQL."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.running import DEADLINE, EXAMPLES, need
from tests.shell.raw_broker import until

PLACES = sorted((str(each) for each in Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
INSERT = (
    "INSERT INTO output VALUES ('{name}', {value}) ON CONFLICT (name) DO UPDATE SET value = {value}"
)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@dataclass(frozen=True, slots=True)
class Database:
    folder: Path
    psql: str

    def run(self, sql: str, term: int | str | None = None) -> str:
        """As a program that edge started: what it is told about the term comes by PGOPTIONS."""
        command, environment = self.command(sql), self.environment(term)
        done = subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=DEADLINE
        )
        return (done.stdout + done.stderr).strip()

    def command(self, sql: str) -> list[str]:
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
        return [
            self.psql,
            "-h",
            str(self.folder),
            "-U",
            "postgres",
            *options,
            "-c",
            sql,
            "postgres",
        ]

    def environment(self, term: int | str | None) -> dict[str, str]:
        told = {} if term is None else {"PGOPTIONS": f"-c edge.term={term}"}
        return {**os.environ, **told}

    def value(self) -> str:
        return self.run("SELECT value FROM output WHERE name = 'pump'")


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    """One that listens on a socket in its own folder only, run by the user postgres if we are
    root: PostgreSQL refuses root."""
    initdb, pg_ctl = (need(name, "postgresql", *PLACES) for name in ("initdb", "pg_ctl"))
    psql = need("psql", "postgresql-client", *PLACES)
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="edge-sql-", dir="/tmp"))
    data = folder / "data"
    if user:
        shutil.chown(folder, user, user)

    def run(*command: str) -> None:
        given = {"user": user, "group": user, "extra_groups": []} if user else {}
        subprocess.run(
            command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=DEADLINE, **given
        )  # type: ignore[call-overload]

    try:
        run(initdb, "-D", str(data), "-A", "trust", "-U", "postgres", "-N", "--locale=C")
        options = f"-c listen_addresses='' -k {folder} -c fsync=off -c max_connections=20"
        run(pg_ctl, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Database(folder, psql)
        finally:
            run(pg_ctl, "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(server: Database) -> Database:
    server.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    sql = (EXAMPLES / "fencing" / "term_check.sql").read_text()
    assert server.run(sql) == ""
    return server


def insert(database: Database, value: int, term: int | str | None) -> str:
    return database.run(INSERT.format(name="pump", value=value), term)


def test_a_lower_term_changes_nothing(database: Database) -> None:
    assert insert(database, 1, 7) == ""
    assert insert(database, 2, 7) == ""
    assert insert(database, 3, 8) == ""
    refused = insert(database, 4, 7)
    assert "EDGE1" in refused
    assert "term 7 is over, 8 was seen" in refused
    assert database.value() == "3"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO output VALUES ('other', 1)",
        "UPDATE output SET value = 0",
        "UPDATE output SET value = 0 WHERE false",
        "DELETE FROM output",
        "TRUNCATE output",
        "COPY output FROM PROGRAM 'echo a'",
    ],
)
def test_every_way_to_change_it_is_checked(database: Database, statement: str) -> None:
    assert insert(database, 1, 7) == ""
    assert "EDGE1" in database.run(statement, 6)
    assert database.value() == "1"


@pytest.mark.parametrize("term", [None, "''", "x", "-1", "7.5", "1e3", "99999999999999999"])
def test_who_does_not_tell_a_term_changes_nothing(database: Database, term: str | None) -> None:
    assert "EDGE1" in insert(database, 1, term)
    assert database.value() == ""


def test_reading_needs_no_term(database: Database) -> None:
    insert(database, 1, 7)
    assert database.run("SELECT count(*) FROM output") == "1"


def test_what_is_rolled_back_was_never_seen(database: Database) -> None:
    insert(database, 1, 7)
    database.run(f"BEGIN; {INSERT.format(name='pump', value=2)}; ROLLBACK", 8)
    assert insert(database, 3, 7) == ""


def written(name: str, value: int) -> str:
    return f"BEGIN; {INSERT.format(name=name, value=value)}; \\echo written"


async def test_a_new_term_waits_for_an_open_transaction_of_the_old_one(database: Database) -> None:
    """Each in a row of its own: it is the term that they wait for."""
    assert insert(database, 1, 7) == ""
    old, new = await _session(database, 7), await _session(database, 8)
    await _tell(old, written("old", 2))
    await _tell(new, written("new", 3), awaits=False)
    await until(lambda: database.run(WAITING) == "1")
    await _tell(old, "COMMIT; \\echo committed")
    assert await _line(new) == "written"
    await _tell(new, "COMMIT; \\echo committed")
    assert "EDGE1" in insert(database, 4, 7)
    for each in (old, new):
        await _end(each)


async def test_the_old_term_waits_for_the_new_ones_first_transaction(database: Database) -> None:
    assert insert(database, 1, 7) == ""
    old, new = await _session(database, 7), await _session(database, 8)
    await _tell(new, written("new", 3))
    await _tell(old, written("old", 2), awaits=False)
    await until(lambda: database.run(WAITING) == "1")
    await _tell(new, "COMMIT; \\echo committed")
    assert "term 7 is over" in await _line(old)
    assert database.run("SELECT count(*) FROM output WHERE name = 'old'") == "0"
    for each in (old, new):
        await _end(each)


async def test_writers_of_one_term_do_not_wait_for_each_other(database: Database) -> None:
    assert insert(database, 1, 7) == ""
    one, other = await _session(database, 7), await _session(database, 7)
    await _tell(one, written("one", 2))
    await _tell(other, written("other", 3))
    for each in (one, other):
        await _end(each)


async def _session(database: Database, term: int) -> asyncio.subprocess.Process:
    command = [each for each in database.command("") if each not in {"-c", ""}]
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=database.environment(term),
    )


async def _tell(session: asyncio.subprocess.Process, sql: str, *, awaits: bool = True) -> None:
    assert session.stdin is not None
    session.stdin.write(f"{sql}\n".encode())
    await session.stdin.drain()
    if awaits:
        assert "ERROR" not in await _line(session)


async def _line(session: asyncio.subprocess.Process) -> str:
    assert session.stdout is not None
    async with asyncio.timeout(DEADLINE):
        return (await session.stdout.readline()).decode().strip()


async def _end(session: asyncio.subprocess.Process) -> None:
    if session.stdin is not None:
        session.stdin.close()
    async with asyncio.timeout(DEADLINE):
        await session.wait()
