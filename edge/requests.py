"""Commands that arrive on request topics: who answers, and with what.

Every node sees the requests on every node's broker. Exactly one of them acts: the hot node on a
switchover, the named node on a promotion, and the broker's own node on everything else and when
nobody else can. A request that the broker keeps (retained) is refused and cleared by that one.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from edge.core import peers
from edge.core.effects import Answer
from edge.core.events import Order, Ordered, PauseOrder, PromoteOrder, SwitchoverOrder
from edge.core.state import State
from edge.ports import Message, Path
from edge.wire import Payload, Rejected, Request, Topics, decode_request, encode

COMMANDS = ("switchover", "promote", "pause", "resume", "state", "history", "ping")
# The latest moment for which a switchover can be ordered, seconds from now.
SCHEDULE_MAX = 7 * 24 * 3600.0
# How many switchovers may wait for their moment.
SCHEDULED_MAX = 10
# How many requests one path may bring: so many at once, and so many each second.
BURST_MAX = 100
RATE_MAX = 50.0
# What a retained request is replaced by before it is cleared: the empty message that follows would
# be a request, too, if nobody were told that it is none.
CLEARING = b'{"cleared":true}'
# How long the empty message may take to follow, seconds. It is lost if whoever clears dies between.
CLEARING_TIMEOUT = 10.0
# What a command may look like: a response goes out under the same word.
COMMAND = re.compile(r"[a-z_]{1,32}")
SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and where its response must go."""

    link: Path
    request: Request
    is_answered: bool = False


@dataclass(slots=True, eq=False)
class Check:
    """A question to a broker, valid for one session: does it keep requests of this command?"""

    link: Path
    session: str | None
    command: str
    is_retained: bool = False


class RequestError(Exception):
    """A refusal: a code for programs and a sentence for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Office:
    """What the desk needs from the agent."""

    state: Callable[[], State]
    order: Callable[[Ordered], None]
    now: Callable[[], float]
    later: Callable[[float, Callable[[], None]], None]
    describe: Callable[[], Payload]
    history: Callable[[], list[Payload]]
    refused: Callable[[str, str, str], None]
    # What the duty did for the last order, step by step; see edge.ports.Duty.
    steps: Callable[[], Payload]


class Desk:
    """Takes requests, gives orders to the core, sends the answers back."""

    def __init__(self, me: str, members: frozenset[str], topics: Topics, office: Office) -> None:
        self._me = me
        self._members = members
        self._topics = topics
        self._office = office
        self._open: dict[int, Asked] = {}
        self._tickets = 0
        self._scheduled = 0
        self._checks: list[Check] = []
        self._budgets: dict[Path, tuple[float, float]] = {}
        # The broker, the command, and when it began; bounded by the rate of requests.
        self._clearings: deque[tuple[str, str, float]] = deque()

    def take(self, link: Path, message: Message) -> Rejected | None:
        """A message on a request topic. One that we asked for again shows what is retained."""
        if not self._is_within_budget(link):
            link.give_up("too many requests")
            return Rejected("too_many_requests", message.topic)
        command = message.topic.removeprefix(self._topics.request(""))
        if not COMMAND.fullmatch(command):
            return Rejected("unknown_command", message.topic)
        if message.payload == CLEARING:
            self._note_clearing(link, command, message)
        elif message.retained:
            self._take_retained(link, command, message)
        elif message.payload or not self._is_clearing(link, command):
            self._take_live(link, command, message)
        return None

    def _is_within_budget(self, link: Path) -> bool:
        now = self._office.now()
        left, at = self._budgets.get(link, (float(BURST_MAX), now))
        left = min(BURST_MAX, left + (now - at) * RATE_MAX) - 1
        self._budgets[link] = (max(left, 0.0), now)
        return left >= 0

    def _take_live(self, link: Path, command: str, message: Message) -> None:
        request = decode_request(command, message.payload)
        is_owner = link.link.broker == self._me
        if isinstance(request, str):
            if is_owner:
                bad = Asked(link, Request(command, {}))
                self._answer(bad, error=RequestError("bad_request", request))
        elif self._is_ours(link.link.broker, request):
            self._check_retained(Asked(link, request))

    def _take_retained(self, link: Path, command: str, message: Message) -> None:
        """Either the answer to our questions, or what we found when we subscribed. What is there
        without a question later is a second copy of an answer: the request is cleared already."""
        asking = self._asking(link, command)
        for check in asking:
            check.is_retained = True
        if asking or link.is_subscribed:
            return
        request = decode_request(command, message.payload)
        is_owner = link.link.broker == self._me
        if is_owner if isinstance(request, str) else self._is_ours(link.link.broker, request):
            self._refuse_retained(Asked(link, Request(command, {})))

    def _asking(self, link: Path, command: str) -> list[Check]:
        wanted = (link, link.session, command)
        return [each for each in self._checks if (each.link, each.session, each.command) == wanted]

    def _note_clearing(self, link: Path, command: str, message: Message) -> None:
        """Somebody, perhaps we, clears a retained request: the empty message that comes next is
        none of anybody's."""
        if message.retained:
            return
        self._doubt(link, command)
        self._forget_old_clearings()
        self._clearings.append((link.link.broker, command, self._office.now()))

    def _is_clearing(self, link: Path, command: str) -> bool:
        self._forget_old_clearings()
        for each in self._clearings:
            if each[:2] == (link.link.broker, command):
                self._clearings.remove(each)
                self._doubt(link, command)
                return True
        return False

    def _doubt(self, link: Path, command: str) -> None:
        """What we are asking the broker about may be what was replaced, or cleared, just now."""
        for check in self._asking(link, command):
            check.is_retained = True

    def _forget_old_clearings(self) -> None:
        oldest = self._office.now() - CLEARING_TIMEOUT
        while self._clearings and self._clearings[0][2] < oldest:
            self._clearings.popleft()

    def answer(self, answer: Answer) -> None:
        """The core's word on an order."""
        asked = self._open.pop(answer.ticket, None)
        if asked is None:
            return
        if asked.is_answered:
            if answer.code:
                self._office.refused(asked.request.command, answer.code, answer.text)
            return
        if answer.code:
            self._answer(asked, error=RequestError(answer.code, answer.text))
            return
        state = self._office.state()
        data: Payload = {"term": state.term, "took_ms": round(answer.took * 1000, 1)}
        if asked.request.command in {"switchover", "promote"}:
            data = {**data, "hot": answer.text, **self._office.steps()}
        self._answer(asked, data=data)

    def _is_ours(self, broker: str, request: Request) -> bool:
        """Exactly one node says yes, as far as the nodes see the same."""
        state = self._office.state()
        is_owner = broker == self._me
        if request.command == "switchover":
            return state.is_hot or (is_owner and peers.hot_peer(state) is None)
        if request.command == "promote":
            target = request.arguments.get("to", broker)
            return target == self._me or (is_owner and not self._can_act(target))
        return is_owner

    def _can_act(self, node: object) -> bool:
        state = self._office.state()
        return any(each.name == node and peers.peer_lives(state, each) for each in state.peers)

    def _check_retained(self, asked: Asked) -> None:
        """A live message does not tell whether the broker keeps it: ask for what is kept."""
        self._checks = [each for each in self._checks if each.session == each.link.session]
        check = Check(asked.link, asked.link.session, asked.request.command)
        self._checks.append(check)

        def decide() -> None:
            self._checks.remove(check)
            if check.is_retained:
                self._refuse_retained(asked)
            else:
                self._act(asked)

        asked.link.ask_again(self._topics.requests, decide)

    def _refuse_retained(self, asked: Asked) -> None:
        topic = self._topics.request(asked.request.command)
        asked.link.publish(Message(topic, CLEARING, retained=True))
        asked.link.publish(Message(topic, b"", retained=True))
        text = "a request must not be retained: it would come again after every restart; cleared"
        self._answer(asked, error=RequestError("retained", text))

    def _act(self, asked: Asked) -> None:
        try:
            data = self._carry_out(asked)
        except RequestError as error:
            self._answer(asked, error=error)
            return
        if data is not None:
            self._answer(asked, data=data)

    def _carry_out(self, asked: Asked) -> Payload | None:
        """The answer's data, or None if it comes later. Raises RequestError."""
        match asked.request.command:
            case "ping":
                return {"node": self._me}
            case "state":
                return self._office.describe()
            case "history":
                return {"history": self._office.history()}
            case "pause" | "resume":
                self._give(asked, PauseOrder(asked.request.command == "pause"))
                return None
            case "switchover":
                return self._switch_over(asked)
            case "promote":
                return self._promote(asked)
        known = ", ".join(COMMANDS)
        text = f"there is no command {asked.request.command}; there are {known}"
        raise RequestError("unknown_command", text)

    def _switch_over(self, asked: Asked) -> Payload | None:
        to = self._node_argument(asked.request)
        order = SwitchoverOrder(to)
        at = asked.request.arguments.get("at", "now")
        if at == "now":
            self._give(asked, order)
            return None
        delay = _seconds_until(at)
        if self._scheduled >= SCHEDULED_MAX:
            raise RequestError("busy", f"{SCHEDULED_MAX} switchovers are waiting already")
        self._scheduled += 1
        self._office.later(delay, partial(self._give_scheduled, asked, order))
        return {"scheduled": at}

    def _give_scheduled(self, asked: Asked, order: Order) -> None:
        """Its response went out when it was ordered; a refusal now is an event."""
        self._scheduled -= 1
        self._give(replace(asked, is_answered=True), order)

    def _promote(self, asked: Asked) -> Payload | None:
        force = asked.request.arguments.get("force", False)
        if not isinstance(force, bool):
            raise RequestError("bad_request", "force must be true or false")
        target = self._node_argument(asked.request) or asked.link.link.broker
        if target != self._me:
            raise RequestError("not_ready", f"{target} is not there")
        self._give(asked, PromoteOrder(force))
        return None

    def _node_argument(self, request: Request) -> str | None:
        to = request.arguments.get("to")
        if to is None or (isinstance(to, str) and to in self._members):
            return to
        known = ", ".join(sorted(self._members))
        raise RequestError("unknown_node", f"{_shown(to)} is not a node of this group: {known}")

    def _give(self, asked: Asked, order: Order) -> None:
        """Hand an order to the core; its Answer comes back to `answer`."""
        self._tickets += 1
        self._open[self._tickets] = asked
        self._office.order(Ordered(order, self._tickets))

    def _answer(
        self, asked: Asked, *, data: Payload | None = None, error: RequestError | None = None
    ) -> None:
        response: Payload = {"status": "ok", "data": data or {}}
        if error is not None:
            response = {"status": "error", "code": error.code, "error": str(error), "data": {}}
            self._office.refused(asked.request.command, error.code, str(error))
        if asked.request.transaction is not None:
            response["transaction"] = asked.request.transaction
        topic = self._topics.response(asked.request.command)
        asked.link.publish(Message(topic, _encode(response)))


def _encode(response: Payload) -> bytes:
    """A transaction may be any JSON; one nested so deep that it cannot be written is dropped."""
    try:
        return encode(response)
    except TypeError:
        return encode({key: value for key, value in response.items() if key != "transaction"})


def _shown(value: object) -> str:
    """What somebody sent, short. Only text is repeated: other values can be nested too deep."""
    return repr(value[:SHOWN_MAX]) if isinstance(value, str) else f"a {type(value).__name__}"


def _seconds_until(at: object) -> float:
    """From an ISO 8601 time of the day to a delay. The wall clock says when, it decides nothing."""
    try:
        moment = datetime.fromisoformat(at if isinstance(at, str) else "")
        moment = moment if moment.tzinfo else moment.astimezone()
        delay = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        raise RequestError(
            "bad_request", f"at = {_shown(at)} is not a time; write 2026-01-31T04:00:00Z or now"
        ) from None
    if not 0 <= delay <= SCHEDULE_MAX:
        raise RequestError("bad_request", f"at = {_shown(at)} is not within the next seven days")
    return delay
