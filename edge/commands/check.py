"""`edge check`: the file, this machine, the references and the witnesses; findings with cures."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

from rich.console import Console
from rich.text import Text

from broker.engines.defects import known_defects
from broker.probe import Target, probe
from edge.adapters.netcheck import ping
from edge.adapters.operator import GroupClient, login_endpoint, login_with_secret
from edge.commands.check_duty import duty_findings
from edge.commands.check_machine import Finding, Level, machine_findings, port_is_taken
from edge.commands.check_policy import policy_findings
from edge.commands.check_tls import tls_findings
from edge.errors import OperatorError
from edge.settings import Settings
from edge.wire import Topics

REACH_TIMEOUT = 2.0
REFERENCE_CURE = "switch it on, or choose a reference that is always there"
STYLES = {Level.OK: "green", Level.NOTE: "", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def check_everything(settings: Settings, name: str) -> int:
    """Print every finding as it is made; 1 if one of them keeps the node from working."""
    return asyncio.run(_check(settings, name, Console(soft_wrap=True)))


async def _check(settings: Settings, name: str, console: Console) -> int:
    problems = 0
    async for finding in _findings(settings, name):
        problems += finding.level is Level.PROBLEM
        _show(console, finding)
    console.print("no problem found" if not problems else f"{problems} to be mended")
    return 1 if problems else 0


def _show(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.level.value:8}", STYLES[finding.level])
    line.append(finding.sentence, "default")
    console.print(line)
    if finding.cure:
        console.print(Text(f"{'':8}cure: {finding.cure}"))


async def _findings(settings: Settings, name: str) -> AsyncIterator[Finding]:
    own = (*_file_findings(settings, name), *machine_findings(settings, name))
    for finding in (*own, *tls_findings(settings), *duty_findings(settings)):
        yield finding
    for port in settings.listen_ports(name):
        yield await _port(settings, name, "broker", port)
    for _, port in settings.broker.more_ports:
        yield await _port(settings, name, "broker", port)
    if settings.console is not None:
        yield await _port(settings, name, "console", settings.console.port)
    for finding in await _reachable(settings, name):
        yield finding
    for witness in settings.witnesses:
        if witness.name != name:
            for finding in await _fitness(settings, name, witness.name):
                yield finding


def _file_findings(settings: Settings, name: str) -> Iterable[Finding]:
    members = ", ".join(settings.members)
    yield Finding(
        Level.OK, f"the file is valid: group {settings.group} of {members}; this is {name}"
    )
    yield Finding(
        Level.NOTE, f"its hash is {settings.config_hash()}; it must be the same on every node"
    )
    yield from policy_findings(settings)
    for sentence in settings.not_yet():
        yield Finding(Level.WARNING, sentence)
    for defect in known_defects(settings.broker.engine):
        sentence = f"engine {settings.broker.engine.value}: {defect.sentence}"
        yield Finding(Level.WARNING, sentence, 'if that matters, write engine = "embedded"')


async def _port(settings: Settings, name: str, who: str, port: int) -> Finding:
    host = settings.broker.host
    taken = port_is_taken(host, port)
    if taken is None:
        return Finding(Level.OK, f"port {port} is free")
    if await _is_running(settings, name):
        return Finding(Level.OK, f"port {port} is in use by {name}, which is running")
    return Finding(
        Level.PROBLEM,
        f"the {who} cannot listen on {host}:{port}: {taken}",
        f"see who has it with: sudo ss -ltnp 'sport = :{port}'; stop that, or change the port",
    )


async def _is_running(settings: Settings, name: str) -> bool:
    ports = settings.listen_ports(name)
    return all([await _is_our_own(settings, name, port) for port in ports])


async def _is_our_own(settings: Settings, name: str, port: int) -> bool:
    """Is it a broker that knows our secret and has heard of this member?"""
    login = login_with_secret(settings, name)
    host = settings.broker.host
    local = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  compared, not bound
    client = GroupClient(settings.group, name)
    try:
        await client.open(login_endpoint(login, settings.group, name, (local, port)))
        await client.wait_for_state()
    except OperatorError:
        return False
    finally:
        client.close()
    return True


async def _reachable(settings: Settings, name: str) -> list[Finding]:
    """The references, which must answer, and the other nodes, which need not run yet."""
    others = [
        (f"node {node.name}", host, port, Level.NOTE, "it may not be running yet")
        for node in settings.nodes
        if node.name != name
        for host, port in settings.node_endpoints(node.name)
    ]
    references = [
        ("reference", host, port, Level.WARNING, REFERENCE_CURE)
        for host, port in settings.netcheck.endpoints
    ]
    pings = (_answers_ping(host) for host in settings.netcheck.ping)
    connections = (_reach(*each) for each in (*references, *others))
    return await asyncio.gather(*pings, *connections)


async def _answers_ping(host: str) -> Finding:
    if await ping(host, REACH_TIMEOUT):
        return Finding(Level.OK, f"reference {host} answers ping")
    return Finding(Level.WARNING, f"reference {host} does not answer ping", REFERENCE_CURE)


async def _reach(what: str, host: str, port: int, level: Level, cure: str) -> Finding:
    try:
        async with asyncio.timeout(REACH_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except OSError as error:  # a timeout is one, too
        reason = os.strerror(error.errno) if error.errno else "no answer"
        return Finding(level, f"{what} at {host}:{port} is not reachable ({reason})", cure)
    return Finding(Level.OK, f"{what} at {host}:{port} is reachable")


async def _fitness(settings: Settings, name: str, witness: str) -> list[Finding]:
    """Try on the witness's broker what the protocol asks of a broker."""
    host, port = settings.witness_endpoint(witness)
    given = next(each.credentials for each in settings.witnesses if each.name == witness)
    login = login_with_secret(settings, name)
    own = (login.user, login.password_at(settings.group, witness))
    user, password = (given.user, given.password) if given.user else own
    found = await probe(Target(host, port, user, password), f"{Topics(settings.group).root}/probe")
    return [
        Finding(Level.OK, f"witness {witness}: {each.sentence}")
        if each.is_ok
        else Finding(
            Level.WARNING if each.id == "connect" else Level.PROBLEM,
            f"witness {witness}: {each.sentence}",
            _witness_cure(each.id),
        )
        for each in found
    ]


def _witness_cure(kind: str) -> str:
    if kind == "connect":
        return "start it; check address, user and password, and the firewall between"
    if kind.startswith("will"):
        return "write trust_will = false: a crash then costs a full lease"
    return "use another broker as the witness, for example Mosquitto, or `edge run` on a machine"
