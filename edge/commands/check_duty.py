"""What `edge check` says about the duty: interfaces, rights, programs, users, the watchdog."""

import os
import pwd
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from edge.commands.check_machine import Finding, Level
from edge.duty.guard.netlink import Kernel, parse
from edge.duty.interfaces import needs_six, problem_of
from edge.settings import Settings
from edge.settings.duty import DutyAddress, DutyProcess
from edge.settings.values import Watchdog

# From linux/capability.h.
CAP_NET_ADMIN, CAP_NET_RAW = 12, 13


def duty_findings(settings: Settings) -> Iterable[Finding]:
    """Nothing is started or changed; an address that is in use is found at the promotion."""
    duty = settings.duty
    for address in duty.address:
        yield _interface(address)
        yield from _elsewhere(address)
    if duty.address:
        yield _rights()
    for process in duty.process:
        yield _process(process)
    for number, hook in enumerate(duty.hook, 1):
        for moment in ("on_hot", "on_standby", "on_alert", "may_switch"):
            command = getattr(hook, moment)
            if command:
                yield _program(f"hook {number}, {moment}", command[0])
    if settings.watchdog is not Watchdog.OFF:
        yield _watchdog(settings)


def _interface(plan: DutyAddress) -> Finding:
    names = sorted(name for _, name in socket.if_nameindex())
    address, interface = plan.address, plan.interface
    if interface not in names:
        return Finding(
            Level.PROBLEM,
            f"there is no interface {interface} for {address}",
            f"write one of {', '.join(names)}",
        )
    problem = problem_of(interface, needs_six=needs_six(plan))
    if problem:
        cure = "mend that: as long as it lasts, this node is unfit to be hot"
        return Finding(Level.WARNING, f"the interface {interface} for {address} {problem}", cure)
    return Finding(Level.OK, f"the interface {interface} for {address} is there")


def _elsewhere(plan: DutyAddress) -> Iterable[Finding]:
    """A machine answers for what it has, whatever the interface that asks."""
    kernel, (packed, _) = Kernel(), parse(plan.address)
    try:
        same = [each for each in kernel.addresses() if each.packed == packed]
    finally:
        kernel.close()
    for each in same:
        name, text = socket.if_indextoname(each.index), plan.address.partition("/")[0]
        if name != plan.interface:
            yield Finding(
                Level.WARNING,
                f"{text} is on {name} of this machine, which may answer for it while another "
                "node is hot",
                f"remove it there: ip address del {text}/{each.prefix} dev {name}",
            )


def _rights() -> Finding:
    status = Path("/proc/self/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("CapEff:"))
    rights = int(line.split()[1], 16)
    if all(rights >> bit & 1 for bit in (CAP_NET_ADMIN, CAP_NET_RAW)):
        return Finding(Level.OK, "this user may add and announce addresses")
    return Finding(
        Level.PROBLEM,
        "this user may not add or announce addresses",
        "run as root, or with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit",
    )


def _process(process: DutyProcess) -> Finding:
    if process.user is not None and not _has_user(process.user):
        cure = f"make the user, or name another one in process {process.name}"
        return Finding(Level.PROBLEM, f"there is no user {process.user}", cure)
    if process.directory is not None and not Path(process.directory).is_dir():
        cure = f"make the folder, or name another one in process {process.name}"
        return Finding(Level.PROBLEM, f"there is no folder {process.directory}", cure)
    if process.unit is not None:
        return _program(f"process {process.name}, unit {process.unit}", "systemctl")
    assert process.command is not None, "the settings ask for one of the two"
    return _program(f"process {process.name}", process.command[0])


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _program(what: str, program: str) -> Finding:
    found = shutil.which(program)
    if found is not None:
        return Finding(Level.OK, f"{what}: {found}")
    reason = "is not executable" if Path(program).exists() else "is not there"
    return Finding(Level.PROBLEM, f"{what}: {program} {reason}", "install it, or mend its path")


def _watchdog(settings: Settings) -> Finding:
    """Looked at only: to open it is to arm it."""
    device = settings.watchdog_device
    if os.access(device, os.W_OK):
        return Finding(Level.OK, f"the watchdog {device} is there")
    level = Level.PROBLEM if settings.watchdog is Watchdog.REQUIRED else Level.WARNING
    cure = "dtparam=watchdog=on in config.txt on a Pi; and systemd must leave it alone"
    return Finding(level, f"the watchdog {device} cannot be opened for writing", cure)
