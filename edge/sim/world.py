"""Hosts, brokers and what is between them: drives the cores and carries out their effects.

What the checks need is kept in true time as it changes, so that no step looks at everybody.
"""

from math import inf
from typing import TYPE_CHECKING

from edge.core import lease
from edge.core.effects import (
    Answer,
    AskToSwitch,
    Beat,
    Effect,
    Leave,
    Persist,
    Publish,
    Reconnect,
    Report,
    StartDuty,
    StopDuty,
)
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    Event,
    HeartbeatSeen,
    LinkLost,
    LinkUp,
    NetworkChecked,
    PeerSeen,
    RecordSeen,
    Subscribed,
    SwitchJudged,
    Woke,
)
from edge.core.model import Link, Policy, Role, Saved
from edge.core.peers import service_level
from edge.core.state import State
from edge.core.step import step
from edge.sim import life
from edge.sim.agenda import Agenda
from edge.sim.dice import Dice
from edge.sim.host import NEVER, Host
from edge.sim.network import Network
from edge.sim.plan import Plan
from edge.sim.reach import Reach
from edge.sim.trace import Trace, ViolationError

if TYPE_CHECKING:
    from edge.sim.checks import Check

# A core that asks to be woken so often within one lease never lets its node rest.
WAKES_MAX = 4096
# Two calls of one timer are at least so far apart, in true time.
TICK = 1e-6
# How likely somebody objects to a planned switchover.
OBJECTION = 0.1
# After these the set of subscribed brokers may be another one.
LINK_EVENTS = frozenset({LinkUp, Subscribed, LinkLost})


class World:
    """One seed's world. `edge.sim.life` begins and ends what lives in it."""

    def __init__(self, plan: Plan, trace: Trace | None = None) -> None:
        self.plan = plan
        self.trace = trace or Trace()
        self.dice = Dice(f"world {plan.seed}")
        self.agenda = Agenda()
        self.timing = plan.group.timing
        # The cores' own numbers: a core that draws more of them still meets the same faults.
        self._jitter = Dice(f"jitter {plan.seed}").random
        self.network = Network(self.agenda, plan, Dice(f"network {plan.seed}"), self.tell)
        self.hosts = {name: self._host(name) for name in plan.hosts}
        self.network.attach(self.hosts.values())
        self.reach = Reach(self.agenda, self.network, tuple(self.hosts.values()))
        self.checks: list[Check] = []
        self.holding_checks: list[Check] = []
        self.elections = 0
        self.steps = 0
        # Until when something that was done to the world may show.
        self.disturbed_until = 0.0

    def _host(self, name: str) -> Host:
        rate = 1.0 + self.dice.pick((-1.0, 1.0, self.dice.between(-1, 1))) * self.plan.drift
        return Host(name, rate, self.dice.between(0, 1000))

    @property
    def now(self) -> float:
        return self.agenda.now

    def note(self, text: str, *values: object) -> None:
        self.trace.note(self.agenda.now, text, *values)

    def disturb(self, duration: float = 0.0) -> None:
        self.disturbed_until = max(self.disturbed_until, self.agenda.now + duration)

    def hot(self) -> list[str]:
        now = self.agenda.now
        return [each.name for each in self.hosts.values() if each.lease_until > now]

    # A node's loop

    def tell(self, host: Host, event: Event) -> None:
        """An event reaches a host: now, or when it thaws."""
        before = host.state
        if before is None:
            return
        if host.is_frozen:
            host.backlog.append((self.tell, host, event))
            return
        agenda = self.agenda
        clock = host.offset + host.rate * agenda.now
        after, effects = step(before, event, clock, self._jitter())
        host.state = after
        self.steps += 1
        if after.tenure is not before.tenure or (
            after.tenure is not None and _may_move_deadline(before, after, event)
        ):
            self._follow_tenure(host, before, after)
        if effects:
            if self.trace.is_detailed:
                self.trace.step(agenda.now, host.name, event, effects)
            self._carry_out_all(host, effects)
            if host.state is not after:
                return
        if after.role is not before.role or _differ(before.saved, after.saved):
            host.known_term = after.saved.term
            self._say_news(host, after)
        if type(event) in LINK_EVENTS:
            self._greet(host, after, event)
        wanted = host.wanted_at = (after.wakeup_at - host.offset) / host.rate
        if wanted < host.wake_at:
            self._arm(host, wanted)

    def _greet(self, host: Host, state: State, event: Event) -> None:
        """The set of brokers is another one; one that is new gets to know this node."""
        self._say_news(host, state)
        if isinstance(event, Subscribed):
            self._say_word(host, state, only=event.link)
            self.network.has_settled(host, event.link)

    def _arm(self, host: Host, wanted: float) -> None:
        """One call of the agenda; when it comes it looks whether the core still wants it."""
        late = self.plan.lateness * self._jitter() if self.plan.lateness else 0.0
        host.wake_at = max(wanted, self.agenda.now + TICK)
        host.alarm += 1
        self.agenda.at(host.wake_at + late, self._wake, host, host.alarm)

    def _wake(self, host: Host, alarm: int) -> None:
        if alarm != host.alarm or host.state is None:
            return
        host.wake_at = inf
        if host.wanted_at > self.agenda.now:
            self._arm(host, host.wanted_at)
            return
        host.wakes += 1
        if host.wakes % WAKES_MAX == 0:
            if self.agenda.now - host.wakes_since < self.timing.lease:
                raise ViolationError(f"R39: the core of {host.name} never rests")
            host.wakes_since = self.agenda.now
        self.tell(host, Woke())

    # What its steps bring about

    def _follow_tenure(self, host: Host, before: State, after: State) -> None:
        """Being hot begins and grows only in a step, so that to look here is to look always."""
        tenure = after.tenure
        if tenure is None:
            host.lease_until = NEVER
            host.guard_until = min(host.guard_until, life.withdrawn_at(self))
            self.note("{} is not hot any more", host.name)
            for check in self.checks:
                check.ended(host, before)
            return
        acts_until = lease.acts_until(after)
        until = acts_until if acts_until > NEVER else lease.lease_until(after)
        host.lease_until = (until - host.offset) / host.rate
        if host.is_acting:
            host.guard_until = (acts_until - host.offset) / host.rate
        if before.tenure is None:
            self.elections += 1
            self.note("{} is HOT, term {}, {}", host.name, tenure.term, tenure.reason)
            for check in self.checks:
                check.began(host, tenure)
        for check in self.holding_checks:
            check.held(host)

    def _carry_out_all(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            if host.dies_after is not None:
                host.dies_after -= 1
                if host.dies_after < 0:
                    self.note("{} dies before {}", host.name, type(effect).__name__)
                    life.kill(self, host, resets=self.dice.chance(0.5))
                    return
            self._carry_out(host, effect)
            if host.state is None:
                return  # it has left: that was its last word

    def _carry_out(self, host: Host, effect: Effect) -> None:  # noqa: C901  one line a case
        match effect:
            case Publish(link, record):
                connection = host.connections.get(link)
                if connection is not None:
                    self.network.send(connection, RecordSeen(connection.link, record))
            case Beat():
                self._beat(host)
            case Persist(saved):
                host.disk = saved
            case Reconnect(link):
                self.network.give_up(host, link)
            case StartDuty(term):
                self._start_duty(host, term)
            case StopDuty(term):
                self.agenda.after(self._duty_time(), self._stopped, (host, host.boot), term)
            case Leave():
                life.leave(self, host)
            case AskToSwitch(term):
                self.agenda.after(self._duty_time(), self._judge, (host, host.boot), term)
            case Report() | Answer():
                pass

    # The duty and its guard

    def _duty_time(self) -> float:
        return self.plan.duty_time * self.dice.random()

    def _start_duty(self, host: Host, term: int) -> None:
        """The guard gets its first deadline: from here on the outside may see this node act."""
        assert host.state is not None, "it has just made a step"
        host.is_acting = True
        host.guard_until = host.true_time(lease.acts_until(host.state))
        for check in self.holding_checks:
            check.held(host)
        self.agenda.after(self._duty_time(), self._started, (host, host.boot), term)

    def _started(self, life: tuple[Host, int], term: int) -> None:
        host, boot = life
        if host.boot == boot:
            self.tell(host, DutyStarted(term))

    def _stopped(self, life: tuple[Host, int], term: int) -> None:
        """The outputs are off, also if the agent is frozen and will hear of it later."""
        host, boot = life
        if host.boot != boot or host.state is None:
            return
        tenure = host.state.tenure
        if tenure is None or tenure.term == term:
            host.is_acting, host.guard_until = False, NEVER
        self.tell(host, DutyStopped(term))

    def _judge(self, life: tuple[Host, int], term: int) -> None:
        host, boot = life
        if host.boot == boot:
            objection = "not now" if self.dice.chance(OBJECTION) else ""
            self.tell(host, SwitchJudged(term, objection))

    def withdraw(self, host: Host) -> None:
        """Its guard ends the duty by itself and says so."""
        if host.state is not None and host.state.tenure is not None and host.is_acting:
            self._stopped((host, host.boot), host.state.tenure.term)

    # What it says of itself

    def _beat(self, host: Host) -> None:
        state = host.state
        assert state is not None, "it has just made a step"
        host.sequence += 1
        boot, sequence, send = f"{host.boot}", host.sequence, self.network.send
        what = (life.CONFIG, state.pause, False, state.term)
        for link, connection in host.connections.items():
            beat = HeartbeatSeen(link, host.name, connection.session, boot, sequence, *what)
            send(connection, beat)
        self._say_news(host, state)  # what time alone has changed, as the agent does

    def _say_news(self, host: Host, state: State) -> None:
        said = (state.role, _shown_term(state), service_level(state))
        if said != host.said:
            host.said = said
            host.version += 1
            self._say_word(host, state)

    def _say_word(self, host: Host, state: State, only: Link | None = None) -> None:
        """The node's own word: to everybody when it changed, on one link after a connect."""
        for link, connection in host.connections.items():
            if only is None or link == only:
                word = PeerSeen(
                    link=link,
                    node=host.name,
                    session=connection.session,
                    boot=f"{host.boot}",
                    version=host.version,
                    role=Role(state.role),
                    term=_shown_term(state),
                    is_synchronised=state.saved.was_synchronised,
                    service_level=service_level(state),
                )
                self.network.send(connection, word)

    # The references outside the group

    def check_network(self, host: Host, boot: int) -> None:
        """Asked for again and again, as long as this life lasts."""
        if host.boot != boot or host.state is None:
            return
        if not host.is_frozen:
            self.tell(host, NetworkChecked(is_reachable=host.reference_back_at <= self.agenda.now))
        self.agenda.after(self.plan.netcheck_interval, self.check_network, host, boot)

    @property
    def asks_references(self) -> bool:
        return self.plan.group.policy is Policy.AVAILABILITY


def _may_move_deadline(before: State, after: State, event: Event) -> bool:
    """A heartbeat says nothing about holdings: half of what a hot node hears need not be asked."""
    return type(event) is not HeartbeatSeen or after.stalled_at != before.stalled_at


def _differ(before: Saved, after: Saved) -> bool:
    """Mostly it is the very same value, which costs least to see."""
    return after is not before and after != before


def _shown_term(state: State) -> int:
    return state.term if state.tenure is None else state.tenure.term
