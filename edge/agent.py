"""Drives the core: one inbox, one timer; carries out the effects in their order.

Everything runs in callbacks of one event loop: a message is judged, stepped and acted on before
the next one is looked at, so nothing waits in a queue that could overflow.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import orjson

from edge.board import Board, may_show
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
    Event,
    LinkDenied,
    LinkLost,
    LinkUp,
    PeerSeen,
    StrangerSeen,
    Subscribed,
    WillSeen,
    Woke,
)
from edge.core.lease import acts_until, lease_until
from edge.core.model import Kind, Link, Record, RecordId, Role, Saved
from edge.core.state import State
from edge.core.step import step
from edge.errors import OperatorError
from edge.journal import event_payload, now_text
from edge.ports import Duty, Message, Path
from edge.recorder import Recorder
from edge.requests import COMMANDS, Desk, Office
from edge.twin import NOBODY, must_leave, sign_of, with_sign
from edge.wire import Decoder, Key, Payload, Rejected, Topics, record_payload, seal

log = logging.getLogger("edge")

# How often the sum of rejected messages may change its alert, seconds.
REJECTED_REPORT_INTERVAL = 10.0
# How long that alert stands after the last such message, seconds.
REJECTED_ALERT_LASTS = 60.0
# How often the log tells of refusals of one kind, seconds.
REFUSAL_LOG_INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What the agent works with; made by `edge.app`."""

    boot: str
    key: Key
    topics: Topics
    decoder: Decoder
    board: Board
    history: Callable[[], list[Payload]]
    remember: Callable[[Payload], bool]
    save: Callable[[Saved], None]
    members: frozenset[str]
    recorder: Recorder
    duty: Duty


class Agent:
    """One node's agent. `links` and `request_links`, over which nothing but requests comes, are
    filled before the first event; `left` ends with a clean stop."""

    def __init__(
        self,
        state: State,
        tools: Tools,
        links: Mapping[Link, Path],
        request_links: Mapping[Link, Path],
    ) -> None:
        self._state = state
        self._tools = tools
        self._duty = tools.duty
        self._links = links
        self._request_links = request_links
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._is_stepping = False
        self._timer: asyncio.TimerHandle | None = None
        self._late = 0.0
        self._disk_problem: str | None = None
        self._rejected: Counter[str] = Counter()
        self._rejected_shown_at = -inf
        self._rejected_at = -inf
        self._refusals: dict[tuple[str, str], float] = {}
        self._withheld: dict[Link, RecordId] = {}
        self._beats = 0
        self._twin = NOBODY
        self._twin_word: tuple[str, int] = ("", -1)
        self._hot_shown: tuple[str | None, int] = (None, -1)
        self._hot_before: tuple[str | None, int] = (None, -1)
        self.left: asyncio.Future[None] = self._loop.create_future()
        office = Office(
            state=lambda: self._state,
            order=self.tell,
            now=self._loop.time,
            later=self._later,
            describe=lambda: tools.board.describe(self._state),
            history=tools.history,
            refused=self._note_refusal,
            steps=lambda: _steps_payload(self._duty),
        )
        self._desk = Desk(state.me.name, tools.members, tools.topics, office)

    @property
    def state(self) -> State:
        return self._state

    def begin(self) -> None:
        self.tell(Woke())

    def tell(self, event: Event) -> None:
        """Take an event; it and what it brings about are done when this returns.

        Nothing more is done by an agent that has left, so its good-bye is its last word.
        """
        if self.left.done():
            return
        self._inbox.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._inbox:
                self._step(self._inbox.popleft())
        finally:
            self._is_stepping = False
        self._arm_timer()

    def link_up(self, link: Link, session: str) -> None:
        self.tell(LinkUp(link, session))

    def subscribed(self, link: Link) -> None:
        self.tell(Subscribed(link))
        self._tools.board.repeat(link)

    def link_lost(self, link: Link) -> None:
        self.tell(LinkLost(link))

    def link_denied(self, link: Link) -> None:
        self.tell(LinkDenied(link))

    def received(self, link: Link, message: Message) -> None:
        """A record, or somebody's word."""
        if self.left.done():
            return
        event = self._tools.decoder.decode(
            link, message.topic, message.payload, retained=message.retained
        )
        if isinstance(event, Rejected):
            self._reject(link, event)
            return
        if isinstance(event, StrangerSeen):
            self._reject(link, Rejected("bad_mac", message.topic))
        self._listen(link, event, message.payload)
        self._watch_for_twin(link, event)
        self.tell(event)

    def requested(self, link: Link, message: Message) -> None:
        """A message on a request topic."""
        if self._is_first_path(link) and not self.left.done():
            rejected = self._desk.take(self._request_links[link], message)
            if rejected is not None:
                self._reject(link, rejected)

    def alert(self, name: str, sentence: str | None) -> None:
        self._tools.board.alert(name, sentence, self._state)

    def _is_first_path(self, link: Link) -> bool:
        """With two paths to a broker each request arrives twice; the first live path counts."""
        live = (
            each
            for each, path in self._request_links.items()
            if each.broker == link.broker and path.is_subscribed
        )
        return link == min(live, default=link)

    def _listen(self, link: Link, event: Event, payload: bytes) -> None:
        """What the core does not need but people do, and the repair of our own state."""
        me = self._state.me.name
        if isinstance(event, PeerSeen) and event.node != me:
            if event.retained and event.role is Role.HOT and not self._state.has_joined:
                self._hot_before = (event.node, event.term)  # it is history, not news
            self._tools.board.heard(event.node, orjson.loads(payload))
        if isinstance(event, WillSeen) and event.node == me:
            self._tools.board.repeat_word(link)

    def _watch_for_twin(self, link: Link, event: Event) -> None:
        """Another machine under our name: of two that live, one ends, and says why."""
        me, timing = self._state.me.name, self._state.group.timing
        sign = sign_of(event, me, self._tools.boot)
        if sign is None:
            return
        now = self._loop.time()
        self._twin = with_sign(self._twin, sign, self._tools.boot, now, timing)
        self._contradict_twin(link, event)
        if not self._twin.is_proven(now, timing):
            return
        is_hot = self._state.is_hot
        sentence = f"Another machine runs under the name {me}, seen on the broker of {link.broker}"
        self.alert("same_name", f"{sentence}; end one of them.")
        leaves = must_leave(self._twin, is_hot=is_hot, boot=self._tools.boot, beats=self._beats)
        if leaves and not self.left.done():
            self.left.set_exception(OperatorError(f"{sentence}; give each node a name of its own"))

    def _contradict_twin(self, link: Link, event: Event) -> None:
        """Our own state again over the twin's, once for each of its words: it does the same."""
        if isinstance(event, PeerSeen) and (event.boot, event.version) != self._twin_word:
            self._twin_word = (event.boot, event.version)
            self._tools.board.repeat_word(link)

    def _reject(self, link: Link, rejected: Rejected) -> None:
        """Counted, and said once for each kind and broker; it changes nothing else."""
        if rejected.cause == "empty":
            return
        kind = f"{rejected.cause} on {link.broker}"
        self._rejected[kind] += 1
        if self._rejected[kind] == 1:
            log.warning("ignored a message (%s) on topic %r", kind, rejected.topic[:120])
        now = self._rejected_at = self._loop.time()
        if now - self._rejected_shown_at > REJECTED_REPORT_INTERVAL:
            self._rejected_shown_at = now
            counts = ", ".join(f"{kind}: {n}" for kind, n in sorted(self._rejected.items()))
            self.alert("bad_messages", f"Messages that change nothing were ignored ({counts}).")

    def _step(self, event: Event) -> None:
        now, jitter = self._loop.time(), random.random()  # noqa: S311  no secret
        self._late = max(self._late, now - self._state.wakeup_at)
        before = self._state
        try:
            self._state, effects = step(before, event, now, jitter)
        except Exception as error:
            self._tools.recorder.note_failure(now, jitter, event, error)
            raise
        self._tools.recorder.note(now, jitter, event, effects, self._state)
        if before.is_hot and not self._state.is_hot:
            self._tools.board.update(self._state)  # before the record that lets another one be hot
        for effect in effects:
            self._carry_out(effect)
        self._tell_duty(before)
        is_news = not isinstance(event, Woke) or bool(effects)
        if is_news and may_show(before, self._state, effects) and not self._is_overdue():
            self._tools.board.update(self._state)
            self._note_hot()

    def _tell_duty(self, before: State) -> None:
        """The guard's deadline is the lease's, and a stall lets it pass (docs/protocol.md, R25)."""
        state = self._state
        if state.tenure is not None:
            self._duty.extend(state.tenure.term, acts_until(state))
        if (state.role, state.reason) != (before.role, before.reason):
            self._duty.set_role(state.role, state.term, state.reason)

    def _is_overdue(self) -> bool:
        """We stood still during this step, and the lease is over: that, not that we are hot, is to
        be said, by the step that comes next."""
        is_hot = self._state.tenure is not None
        return is_hot and self._loop.time() >= lease_until(self._state)

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._state.wakeup_at, self.tell, Woke())

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901  one line a case
        match effect:
            case Persist(saved):
                self._persist(saved)
            case Publish(link, record):
                self._publish(link, record)
            case Beat():
                self._beat()
            case Reconnect(link):
                self._links[link].give_up("a record did not come back")
            case StartDuty(term):
                self._duty.start(term, self._state.reason)
            case StopDuty(term, reason):
                self._duty.stop(term, reason, at_once=not self._state.is_hot)
            case AskToSwitch(term, to):
                self._duty.ask_to_switch(term, to)
            case Report():
                self._report(effect)
            case Answer():
                self._desk.answer(effect)
            case Leave():
                if not self.left.done():
                    self.left.set_result(None)

    def _persist(self, saved: Saved) -> None:
        """Without the disk no new claim goes out; a lease that is held goes on."""
        try:
            self._tools.save(saved)
            problem = None
        except OSError as error:
            problem = f"The term cannot be saved ({error.strerror}); this node will not claim."
        if problem != self._disk_problem:
            self._disk_problem = problem
            log.log(logging.WARNING if problem else logging.INFO, problem or "the disk is back")
            self.alert("disk", problem)

    def _publish(self, link: Link, record: Record) -> None:
        if self._must_withhold(link, record):
            return
        topic = self._tools.topics.lease
        payload = seal(self._tools.key, link.broker, topic, record_payload(record))
        self._links[link].publish(Message(topic, payload, retained=True))

    def _must_withhold(self, link: Link, record: Record) -> bool:
        """No claim goes out whose term is not on disk, nor the release of one that did not: a
        record that follows one which nobody has seen would only make the others wait."""
        if record.kind is Kind.CLAIM and self._disk_problem is not None:
            self._persist(self._state.saved)
            if self._disk_problem is not None:
                self._withheld[link] = record.id
                return True
        return record.basis is not None and record.basis == self._withheld.get(link)

    def _beat(self) -> None:
        late, self._late = self._late, 0.0
        self._beats += 1
        if self._disk_problem is not None:
            self._persist(self._state.saved)
        now, timing = self._loop.time(), self._state.group.timing
        if not self._twin.is_proven(now, timing):
            self.alert("same_name", None)
        if now > self._rejected_at + REJECTED_ALERT_LASTS:
            self.alert("bad_messages", None)
        twin = self._twin.boot if self._twin.is_heard(now, timing) else ""
        self._tools.board.beat(self._state, round(late * 1000), twin)

    def _report(self, report: Report) -> None:
        payload = event_payload(report)
        log.info(
            "%s: %s -> %s, term %s, %s, %s ms",
            *(payload[key] for key in ("event", "from", "to", "term", "reason", "total_ms")),
        )
        if report.duty is not None:
            payload |= _steps_payload(self._duty)
            self._tools.board.last_switch = payload
        self._tools.board.event(payload)
        self._remember(payload)

    def _remember(self, payload: Payload) -> None:
        if self._tools.remember(payload):
            self._tools.board.show_history()

    def _note_hot(self) -> None:
        """A change of the hot role elsewhere, in the words of the node that took it."""
        name, term, switch = self._tools.board.hot_word()
        if name is None or (name, term) == self._hot_shown or not switch:
            return
        self._hot_shown = (name, term)
        if name == self._state.me.name or not self._tools.remember(switch):
            return
        self._tools.board.show_history()
        if self._hot_before != (name, term):
            self._tools.board.event(switch)

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        self._loop.call_later(delay, call)

    def _note_refusal(self, command: str, code: str, reason: str) -> None:
        kind = (command if command in COMMANDS else "", code)
        now = self._loop.time()
        if now - self._refusals.get(kind, -inf) > REFUSAL_LOG_INTERVAL:
            self._refusals[kind] = now
            log.info("refused %s: %s", command, reason)
        payload = {"event": "refused", "command": command, "reason": reason, "at": now_text()}
        self._tools.board.event(payload)


def _steps_payload(duty: Duty) -> Payload:
    """What starting or stopping the duty was made of, for whoever asks where the time went."""
    steps = [{"step": name, "ms": round(took, 1)} for name, took in duty.take_steps()]
    return {"steps": steps} if steps else {}
