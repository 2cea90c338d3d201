"""The keeper: order of start and stop, requests that override each other, what goes wrong."""

import asyncio

import pytest

from edge.core.model import Role
from edge.core.orders import TOO_LATE
from tests.duty.keeping import keeping, process, until

ADDRESS = {"address": "192.168.2.50/24", "interface": "eth0"}
OTHER = {"address": "fd00::50/64", "interface": "eth1"}
HOOK = {"on_hot": ["true"], "on_standby": ["true"]}


def without_hooks_of_the_beginning(calls: list[str]) -> list[str]:
    return calls[calls.index("farewell hook.1.on_standby") :]


async def test_start_goes_by_the_file_and_stop_by_its_reverse() -> None:
    tables = {"address": [ADDRESS], "process": [process("a"), process("b")], "hook": [HOOK]}
    async with keeping(**tables) as kept:
        await kept.hot()
        assert kept.guard.running == ["a", "b"]
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert without_hooks_of_the_beginning(kept.guard.calls) == [
            "farewell hook.1.on_standby",
            "hold 192.168.2.50/24 eth0",
            "spawn a",
            "spawn b",
            "spawn hook.1.on_hot",
            "end hook.1.on_hot",
            "spawn hook.1.on_standby",
            "end hook.1.on_standby",
            "end b",
            "end a",
            "drop 192.168.2.50/24 eth0",
            "drop_farewell hook.1.on_standby",
            "withdraw",
        ]
        assert kept.steps[-10:] == [
            "hold 192.168.2.50/24",
            "start a",
            "start b",
            "hooks on_hot",
            "hooks on_standby",
            "stop b",
            "stop a",
            "drop 192.168.2.50/24",
            "farewells",
            "leftovers",
        ]


async def test_what_is_hot_is_guarded_and_nothing_else() -> None:
    processes = [
        process("hot"),
        process("cold", run_on="standby"),
        process("both", run_on="always"),
    ]
    async with keeping(process=processes) as kept:
        await until(lambda: kept.guard.running == ["cold", "both"])
        await kept.hot()
        assert kept.guard.guarded == {"hot": True, "cold": False, "both": False}


async def test_processes_know_where_and_why_they_run() -> None:
    async with keeping(process=[process("a", environment={"X": "1"})]) as kept:
        await kept.hot(9, "switchover")
        assert dict(kept.guard.spawned[0].env) == {
            "EDGE_GROUP": "RPI",
            "EDGE_NODE": "white",
            "EDGE_TERM": "9",
            "EDGE_ROLE": "hot",
            "EDGE_REASON": "switchover",
            "X": "1",
        }


async def test_several_addresses_are_held_at_once() -> None:
    """The probe of each takes its time; promotion has none."""
    async with keeping(address=[ADDRESS, OTHER]) as kept:
        gate = kept.guard.gates["hold 192.168.2.50/24 eth0"] = asyncio.Event()
        kept.keeper.start(7, "")
        await until(lambda: "hold fd00::50/64 eth1" in kept.guard.calls)
        gate.set()
        await kept.reported("started 7")


async def test_standby_processes_end_before_hot_ones_start_and_come_back() -> None:
    processes = [process("cold", run_on="standby"), process("hot")]
    async with keeping(process=processes) as kept:
        await until(lambda: kept.guard.running == ["cold"])
        first = kept.guard.pid("cold")
        await kept.hot()
        assert kept.guard.running == ["hot"]
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        await until(lambda: kept.guard.running == ["cold"])
        assert kept.guard.pid("cold") != first
        assert kept.guard.spawned[-1].env["EDGE_ROLE"] != "hot"


async def test_what_runs_always_is_left_alone() -> None:
    async with keeping(process=[process("both", run_on="always")]) as kept:
        await until(lambda: kept.guard.running == ["both"])
        first = kept.guard.pid("both")
        await kept.hot()
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert kept.guard.pid("both") == first


async def test_an_address_that_is_refused_ends_the_start() -> None:
    async with keeping(address=[ADDRESS, OTHER], process=[process("a")]) as kept:
        kept.guard.refused["hold 192.168.2.50/24 eth0"] = "00:11:22:33:44:55 answers for it"
        kept.keeper.start(7, "")
        why = "address 192.168.2.50/24 on eth0: 00:11:22:33:44:55 answers for it"
        await kept.reported(f"failed 7: {why}")
        assert not kept.guard.addresses
        assert "spawn a" not in kept.guard.calls
        assert kept.fitness == [f"the duty could not be started: {why}"]
        assert kept.alerts == [f"The duty could not be started: {why}."]


async def test_a_node_that_could_not_start_is_fit_again_after_a_while() -> None:
    async with keeping(address=[ADDRESS]) as kept:
        kept.guard.refused["hold 192.168.2.50/24 eth0"] = "gone"
        kept.keeper.start(7, "")
        await until(lambda: len(kept.fitness) == 2)
        assert kept.fitness[1] == ""
        assert kept.alerts == [
            "The duty could not be started: address 192.168.2.50/24 on eth0: gone."
        ]
        kept.guard.refused.clear()
        kept.reports.clear()
        await kept.hot(8)
        assert kept.alerts[-1] is None


async def test_a_node_that_fails_again_and_again_stands_back_for_longer() -> None:
    async with keeping(address=[ADDRESS]) as kept:
        kept.guard.refused["hold 192.168.2.50/24 eth0"] = "gone"
        for term, seconds in ((7, 1.0), (8, 2.0), (9, 4.0)):
            kept.keeper.start(term, "")
            await kept.reported(f"failed {term}: address 192.168.2.50/24 on eth0: gone")
            timer = kept.keeper._troubles._timers["start"]
            left = timer.when() - asyncio.get_running_loop().time()
            assert seconds / 2 < left <= seconds


async def test_a_start_that_takes_too_long_is_a_failed_one_and_says_where_it_hung() -> None:
    tables = {"address": [ADDRESS], "process": [process("a")]}
    async with keeping(**tables) as kept:
        kept.guard.gates["spawn a"] = asyncio.Event()
        kept.keeper.start(7, "")
        await until(lambda: "spawn a" in kept.guard.calls)
        kept.keeper.stop(7, TOO_LATE)
        await kept.reported("stopped 7")
        why = "it took longer than timing.starting_to_hot, at last: start a"
        assert kept.fitness == [f"the duty could not be started: {why}"]
        await until(lambda: kept.fitness[1:] == [""])


async def test_a_start_that_is_called_off_is_no_failure() -> None:
    async with keeping(process=[process("a")]) as kept:
        kept.guard.gates["spawn a"] = asyncio.Event()
        kept.keeper.start(7, "")
        await until(lambda: "spawn a" in kept.guard.calls)
        kept.keeper.stop(7, "switchover")
        await kept.reported("stopped 7")
        assert kept.fitness == []


async def test_a_process_that_does_not_exist_ends_the_start() -> None:
    async with keeping(process=[process("a"), process("b", ["/no/such/program"])]) as kept:
        kept.keeper.start(7, "")
        why = "process b cannot be started: /no/such/program: No such file or directory"
        await kept.reported(f"failed 7: {why}")
        assert not kept.guard.running


@pytest.mark.parametrize(
    "gate",
    [
        "farewell hook.1.on_standby",
        "hold 192.168.2.50/24 eth0",
        "spawn a",
        "spawn hook.1.on_hot",
    ],
)
async def test_a_stop_during_any_step_of_a_start_undoes_it(gate: str) -> None:
    tables = {"address": [ADDRESS], "process": [process("a")], "hook": [HOOK]}
    async with keeping(**tables) as kept:
        opened = kept.guard.gates[gate] = asyncio.Event()
        kept.keeper.start(7, "")
        await until(lambda: gate in kept.guard.calls)
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert (kept.guard.running, kept.guard.addresses, kept.guard.farewells) == ([], set(), {})
        opened.set()
        await kept.hot(8)


async def test_a_stop_while_a_process_is_not_healthy_yet() -> None:
    health = {"command": ["false"], "interval": 0.01}
    async with keeping(process=[process("a", health=health)]) as kept:
        kept.keeper.start(7, "")
        await until(lambda: "spawn check.a" in kept.guard.calls)
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert not kept.guard.running


async def test_a_start_during_a_stop_waits_until_all_is_ended() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot()
        gate = kept.guard.gates["end a"] = asyncio.Event()
        kept.keeper.stop(7)
        await until(lambda: "end a" in kept.guard.calls)
        kept.keeper.start(8, "")
        gate.set()
        await kept.reported("stopped 7", "started 8")
        assert [each.env["EDGE_TERM"] for each in kept.guard.spawned] == ["7", "8"]


async def test_a_start_that_is_taken_back_during_a_stop_never_happens() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot()
        gate = kept.guard.gates["end a"] = asyncio.Event()
        kept.keeper.stop(7)
        await until(lambda: "end a" in kept.guard.calls)
        kept.keeper.start(8, "")
        kept.keeper.stop(8)
        gate.set()
        await kept.reported("stopped 7", "stopped 8")
        assert len(kept.guard.spawned) == 1


async def test_a_start_that_was_taken_back_ends_in_peace_whatever_is_wanted_next() -> None:
    """Its hook has to be gone before the next one runs it again."""
    async with keeping(hook=[{"on_hot": ["sleep", "1000"]}]) as kept:
        kept.guard.gates["end hook.1.on_hot"] = asyncio.Event()
        kept.keeper.start(7, "failover")
        await until(lambda: "spawn hook.1.on_hot" in kept.guard.calls)
        kept.keeper.stop(7)
        await until(lambda: "end hook.1.on_hot" in kept.guard.calls)
        kept.keeper.start(8, "failover")
        for _ in range(20):
            await asyncio.sleep(0)
        reports_before = tuple(kept.reports)
        kept.guard.gates["end hook.1.on_hot"].set()
        assert reports_before == ()
        await kept.reported("stopped 7")


async def test_a_later_term_replaces_an_earlier_one() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot()
        await kept.hot(8)
        assert [each.env["EDGE_TERM"] for each in kept.guard.spawned] == ["7", "8"]


async def test_a_second_start_of_the_same_term_changes_nothing() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot()
        kept.keeper.start(7, "")
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert len(kept.guard.spawned) == 1


async def test_a_stop_of_nothing_is_answered() -> None:
    async with keeping() as kept:
        kept.keeper.stop(3)
        await kept.reported("stopped 3")
        kept.keeper.start(4, "")
        kept.keeper.stop(4)
        await kept.reported("stopped 4")


async def test_a_stop_of_an_earlier_term_leaves_the_later_one_alone() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot(8)
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert kept.guard.running == ["a"]


async def test_a_stop_of_what_never_began_is_answered_before_the_next_term() -> None:
    async with keeping(process=[process("a")]) as kept:
        kept.keeper.start(7, "failover")
        kept.keeper.stop(7, at_once=True)
        kept.keeper.start(8, "failover")
        await kept.reported("stopped 7", "started 8")


async def test_a_stop_of_the_term_that_is_being_left_waits_for_its_end() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot(7)
        kept.guard.gates["end a"] = asyncio.Event()
        kept.keeper.start(8, "failover")
        kept.keeper.stop(7)
        await until(lambda: "end a" in kept.guard.calls)
        assert kept.reports == []
        kept.guard.gates["end a"].set()
        await kept.reported("stopped 7", "started 8")


async def test_a_lease_that_ends_during_a_stop_in_order_is_waited_for() -> None:
    """The guard lets go by itself then; a start would be refused before it is done."""
    async with keeping(process=[process("a")]) as kept:
        await kept.hot(7)
        kept.guard.gates["end a"] = asyncio.Event()
        kept.keeper.stop(7)
        await until(lambda: "end a" in kept.guard.calls)
        kept.keeper.stop(7, at_once=True)
        kept.guard.gates["end a"].set()
        await kept.reported("stopped 7", "stopped 7")
        assert kept.guard.calls[-1] == "withdraw"


async def test_what_cannot_be_ended_in_order_is_withdrawn() -> None:
    async with keeping(address=[ADDRESS], process=[process("a")]) as kept:
        await kept.hot()
        kept.guard.refused["drop 192.168.2.50/24 eth0"] = "the kernel says no"
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert kept.guard.calls[-1] == "withdraw"
        assert not kept.guard.addresses


async def test_a_stop_at_once_leaves_it_to_the_guard() -> None:
    tables = {"address": [ADDRESS], "process": [process("a")], "hook": [HOOK]}
    async with keeping(**tables) as kept:
        await kept.hot()
        begun = len(kept.guard.calls)
        kept.keeper.stop(7, at_once=True)
        await kept.reported("stopped 7")
        assert kept.guard.calls[begun] == "withdraw"
        assert "spawn hook.1.on_standby" not in kept.guard.calls[begun:]
        assert not kept.guard.running


async def test_a_withdrawal_is_a_failure_of_the_duty() -> None:
    async with keeping(address=[ADDRESS], process=[process("a")]) as kept:
        await kept.hot()
        kept.keeper.withdrawn("deadline")
        await kept.reported("failed 7: the guard withdrew the duty (deadline)")
        assert not kept.guard.running
        await kept.hot(8)


async def test_a_withdrawal_during_the_start_ends_it() -> None:
    async with keeping(process=[process("a"), process("b")]) as kept:
        kept.guard.gates["spawn b"] = asyncio.Event()
        kept.keeper.start(7, "")
        await until(lambda: "spawn b" in kept.guard.calls)
        kept.keeper.withdrawn("deadline")
        await kept.reported("failed 7: the guard withdrew the duty (deadline)")
        assert not kept.guard.running


async def test_a_withdrawal_of_the_last_term_is_none_of_the_next() -> None:
    why = "the guard withdrew the duty (deadline)"
    async with keeping(process=[process("a")]) as kept:
        await kept.hot(7)
        kept.guard.gates["end a"] = asyncio.Event()
        kept.keeper.stop(7)
        await until(lambda: "end a" in kept.guard.calls)
        kept.keeper.start(8, "failover")
        kept.keeper.withdrawn("deadline")
        kept.guard.gates["end a"].set()
        await kept.reported(f"failed 7: {why}", "stopped 7", "started 8")


async def test_a_withdrawal_of_nothing_is_no_news() -> None:
    async with keeping(process=[process("a")]) as kept:
        kept.keeper.withdrawn("deadline")
        await kept.hot()


async def test_without_a_guard_there_is_no_duty() -> None:
    processes = [process("a"), process("both", run_on="always")]
    async with keeping(process=processes) as kept:
        await kept.hot()
        for name in ("both", "a"):
            kept.guard.refused[f"spawn {name}"] = "the guard is gone"
            await kept.guard.end(name, 0.0)
        kept.keeper.lost("status -9")
        await kept.reported("failed 7: the guard was lost (status -9)")
        kept.keeper.start(8, "")
        await kept.reported("failed 8: the guard was lost (status -9)")
        kept.keeper.stop(8)
        await kept.reported("stopped 8")


async def test_the_end_of_the_keeper_ends_everything_in_order() -> None:
    processes = [process("both", run_on="always"), process("a")]
    async with keeping(address=[ADDRESS], process=processes, hook=[HOOK]) as kept:
        await kept.hot()
        await kept.keeper.close()
        assert not kept.guard.running
        assert not kept.guard.addresses
        ends = [each for each in kept.guard.calls if each in {"end a", "end both"}]
        assert ends[0] == "end a"
        assert "end both" in ends


async def test_the_keeper_may_end_at_any_step() -> None:
    async with keeping(address=[ADDRESS], process=[process("a")]) as kept:
        kept.guard.gates["hold 192.168.2.50/24 eth0"] = asyncio.Event()
        kept.keeper.start(7, "")
        await until(lambda: bool(kept.guard.addresses))
        await kept.keeper.close()
        assert not kept.guard.addresses
        assert not kept.reports


async def test_the_role_is_told_to_what_runs_while_not_hot() -> None:
    async with keeping(process=[process("a", ["false"], run_on="standby")]) as kept:
        kept.keeper.set_role(Role.FAULTY, 3, "the files differ")
        await until(lambda: any(each.env["EDGE_ROLE"] == "faulty" for each in kept.guard.spawned))
        env = kept.guard.spawned[-1].env
        assert (env["EDGE_TERM"], env["EDGE_REASON"]) == ("3", "the files differ")
