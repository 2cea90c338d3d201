"""`edge check` on the duty: each mistake has its line and its cure, and nothing is started."""

import secrets
from pathlib import Path

import pytest

from edge.commands.check_duty import duty_findings
from edge.commands.check_machine import Level
from edge.duty.interfaces import problem_of
from edge.settings.file import load_settings
from tests.lan.deadline import wait_until
from tests.lan.namespaces import Namespace, missing_requirement, unique_name
from tests.shell.conftest import BASE


def problems(tmp_path: Path, more: str, *, head: str = "") -> list[str]:
    path = tmp_path / "edge.toml"
    path.write_text(head + BASE + more)
    findings = list(duty_findings(load_settings(path)))
    assert all(each.cure for each in findings if each.level is not Level.OK)
    return [each.sentence for each in findings if each.level is not Level.OK]


ADDRESS = '[[duty.address]]\naddress = "192.0.2.50/24"\ninterface = "{}"\n'


def test_an_interface_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no interface eth99 for 192.0.2.50/24" in problems(
        tmp_path, ADDRESS.format("eth99")
    )


def test_an_interface_that_is_there(tmp_path: Path) -> None:
    found = problems(tmp_path, ADDRESS.format("lo"))
    assert not any("interface" in each for each in found)


def test_an_address_on_another_interface_and_one_without_a_cable(tmp_path: Path) -> None:
    missing = missing_requirement()
    if missing:
        pytest.skip(missing)
    machine = Namespace(unique_name(secrets.token_hex(2), "check"))

    def has_no_carrier() -> bool:
        with machine.entered():
            return "carrier" in problem_of("one", needs_six=False)

    machine.create()
    try:
        machine.ip("link", "add", "one", "type", "veth", "peer", "name", "other")
        machine.ip("link", "set", "one", "up")
        for each in ("192.0.2.50/32", "192.0.2.51/32"):
            machine.ip("address", "add", each, "dev", "lo")
        wait_until(has_no_carrier, "the kernel has looked at the link")
        with machine.entered():
            found = problems(tmp_path, ADDRESS.format("one"))
    finally:
        machine.delete()
    assert found == [
        "the interface one for 192.0.2.50/24 has no carrier, the cable may be out",
        "192.0.2.50 is on lo of this machine, which may answer for it while another node is hot",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name = "a"\ncommand = ["/no/such"]\n', "process a: /no/such is not there"),
        ('name = "a"\ncommand = ["{data}"]\n', "process a: {data} is not executable"),
        ('name = "a"\ncommand = ["true"]\nuser = "nobody-here"\n', "there is no user nobody-here"),
        ('name = "a"\ncommand = ["true"]\ndirectory = "/no/such"\n', "there is no folder /no/such"),
    ],
)
def test_a_process_that_cannot_start(tmp_path: Path, text: str, problem: str) -> None:
    data = tmp_path / "data"
    data.touch()
    found = problems(tmp_path, "[[duty.process]]\n" + text.replace("{data}", str(data)))
    assert found == [problem.replace("{data}", str(data))]


def test_a_hook_that_is_not_there(tmp_path: Path) -> None:
    found = problems(tmp_path, '[[duty.hook]]\non_hot = ["true"]\nmay_switch = ["/no/such"]\n')
    assert found == ["hook 1, may_switch: /no/such is not there"]


@pytest.mark.parametrize(("mode", "count"), [("off", 0), ("auto", 1), ("required", 1)])
def test_a_watchdog_that_is_not_there(tmp_path: Path, mode: str, count: int) -> None:
    head = f'watchdog = "{mode}"\nwatchdog_device = "/no/such"\n'
    assert len(problems(tmp_path, "", head=head)) == count
