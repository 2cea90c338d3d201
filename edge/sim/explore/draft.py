"""A world of the exploration while something happens in it: deliveries, steps, connections."""

from collections.abc import Callable

from edge.core.model import Kind, Record, RecordId, Saved
from edge.sim.explore.game import DOWN, GENERATIONS, UP, Game, World

# A core that asks again and again for the same instant would never let it pass.
WAKES_MAX = 8


class Violation(AssertionError):  # noqa: N818  it is what it is called everywhere in the project
    """The protocol did not keep its word."""


class Draft:
    """A world while something happens in it. Where more than one thing can, `choose` says which."""

    def __init__(self, game: Game, world: World, choose: Callable[[int], int]) -> None:
        self.game = game
        self.table = game.minds
        self.choose = choose
        self.notes: list[str] = []
        (minds, connections, registers, pipes, self.left, *rest) = world
        self.minds, self.connections, self.registers = [*minds], [*connections], [*registers]
        self.pipes = dict(pipes)
        (self.turn, self.was_hot, self.cut, self.cut_host, self.frozen, *rest) = rest
        (self.postponements, self.crashes, self.restarts, self.cuts, self.freezes, *rest) = rest
        self.top_term, self.has_forgotten = rest
        self.beating: list[int] = []
        self.woken = 0

    def world(self) -> World:
        return World(
            tuple(self.minds),
            tuple(self.connections),
            tuple(self.registers),
            tuple(sorted(self.pipes.items())),
            self.left,
            self.turn,
            self.was_hot,
            self.cut,
            self.cut_host,
            self.frozen,
            self.postponements,
            self.crashes,
            self.restarts,
            self.cuts,
            self.freezes,
            self.top_term,
            bool(self.has_forgotten),
        )

    # Questions

    def is_alive(self, node: int) -> bool:
        return self.table.traits[self.minds[node]].is_alive

    def is_awake(self, node: int) -> bool:
        return self.is_alive(node) and not self.frozen >> node & 1

    def is_cut(self, node: int, broker: int, way: int) -> bool:
        return bool(self.cut >> ((node * self.game.broker_count + broker) * 2 + way) & 1)

    def waiting(self, process: int) -> list[int]:
        """The pipes whose head this process may take now; brokers come before nodes."""
        found = []
        for code in self.pipes:
            if self.game.taker(code) == process and code not in self.left:
                node, broker, _, way = self.game.decoded(code)
                if self.is_cut(node, broker, way) or (way == DOWN and self.frozen >> node & 1):
                    continue
                found.append(code)
        return sorted(found)

    def hot(self) -> int:
        traits = self.table.traits
        return sum(1 << node for node, mind in enumerate(self.minds) if traits[mind].is_hot)

    # Pipes

    def push(self, code: int, message: int) -> None:
        self.pipes[code] = (*self.pipes.get(code, ()), message)

    def pop(self, code: int) -> int:
        first, *others = self.pipes[code]
        if others:
            self.pipes[code] = tuple(others)
        else:
            del self.pipes[code]
            self.left = tuple(each for each in self.left if each != code)
        return first

    def purge(self, code: int) -> None:
        self.pipes.pop(code, None)
        self.left = tuple(each for each in self.left if each != code)

    # Steps of the core

    def tell(self, node: int, broker: int, message: int) -> None:
        """One step of a node, its effects, and perhaps its end between two of them."""
        before = self.minds[node]
        outcomes = self.table.told(before, broker, message)
        outcome = outcomes[self.choose(len(outcomes))]
        acts = outcome.acts
        end = self.choose(1 + 2 * len(acts)) if self.crashes and acts else 0
        if end:
            self._tell_and_die(node, before, outcome.mind, acts, end - 1)
            return
        self.minds[node] = outcome.mind
        self._check(node, before)
        for act in acts:
            self._carry_out(node, *act)
        self.wake(node)

    def wake(self, node: int) -> None:
        """Timers fire as soon as they are due, unless the node is frozen: the core, whose clock
        comes first, does the same when it is told anything else at that instant."""
        traits = self.table.traits[self.minds[node]]
        if traits.is_due and self.is_awake(node) and self.woken < WAKES_MAX:
            self.woken += 1
            self.tell(node, 0, self.table.message("woke"))

    def _tell_and_die(
        self, node: int, before: int, after: int, acts: tuple[tuple[str, int, int], ...], end: int
    ) -> None:
        """The process ends when its first effects are done; the kernel may close what is open."""
        done, is_silent = divmod(end, 2)
        self.minds[node] = after
        saved = self.table.saved(before)
        for act, broker, message in acts[: done + 1]:
            if act == "persist":
                saved = self.table.messages[message][1]
            if act == "publish":
                self._carry_out(node, act, broker, message)
        self.note(f"and dies after {done + 1} of {len(acts)} effects")
        self.fall(node, self.table.fallen(after, saved), is_silent=bool(is_silent))

    def _check(self, node: int, before: int) -> None:
        """Never two hot nodes; the terms of successive hot nodes grow.

        Who was hot when this round of nodes began is so still, as far as this node can know.
        """
        traits = self.table.traits[self.minds[node]]
        if not traits.is_hot:
            return
        others = (self.hot() | self.was_hot) & ~(1 << node)
        if others:
            raise Violation("two nodes are hot at one time")
        if self.table.traits[before].is_hot:
            return
        term = self.table.traits[self.minds[node]].hot_term
        if self.game.checks_terms and term <= self.top_term and not self.has_forgotten:
            raise Violation(f"hot with term {term} after {self.top_term}")
        self.top_term = max(term, self.top_term)

    def _carry_out(self, node: int, act: str, broker: int, message: int) -> None:
        match act:
            case "publish":
                self.send_up(node, broker, message)
            case "tell":
                self.tell(node, broker, message)
            case "beat":
                self.beating.append(node)
            case "reconnect":
                self.abandon(node, broker)
            case "leave":
                self.fall(node, self.table.fallen(self.minds[node], self.saved(node)))

    def saved(self, node: int) -> Saved:
        return self.table.saved(self.minds[node])

    # Connections

    def connection(self, node: int, broker: int) -> int:
        """The number of the newest connection, negative once the node's side has ended."""
        number, is_open = divmod(self.connections[node * self.game.broker_count + broker], 2)
        return number if is_open else -number

    def _set_connection(self, node: int, broker: int, number: int) -> None:
        # Never a negative number: Python gives -1 and -2 the same hash.
        value = abs(number) * 2 + (number > 0)
        self.connections[node * self.game.broker_count + broker] = value

    def send_up(self, node: int, broker: int, message: int) -> None:
        number = self.connection(node, broker)
        if number > 0 and self.registers[broker]:
            self.push(self.game.code(node, broker, number, UP), message)

    def open(self, node: int, broker: int) -> None:
        """A new session; subscribing is the first thing that is sent over it."""
        number = abs(self.connection(node, broker)) + 1
        assert number < GENERATIONS, "more connections than the codes of pipes have room for"
        self._set_connection(node, broker, number)
        self.know(broker, self.game.subscriber(node, number, is_subscribed=False))
        self.send_up(node, broker, self.table.message("subscribe"))
        self.tell(node, broker, self.table.message("up", self.session(node, broker, number)))

    def session(self, node: int, broker: int, number: int) -> str:
        boot = self.table.traits[self.minds[node]].boot
        return f"{boot}-{self.game.names[broker][0]}{number}"

    def abandon(self, node: int, broker: int) -> None:
        """The node ends its side; the broker learns of it behind all that was sent."""
        number = self.connection(node, broker)
        if number <= 0:
            return
        self.end_up(node, broker, number)
        self.purge(self.game.code(node, broker, number, DOWN))
        self._set_connection(node, broker, -number)

    def end_up(self, node: int, broker: int, number: int) -> None:
        if self.registers[broker]:
            session = self.session(node, broker, number)
            end = self.table.message("end", self.game.names[node], session)
            self.push(self.game.code(node, broker, number, UP), end)

    def know(self, broker: int, subscriber: int) -> None:
        retained, *known = self.registers[broker]
        others = [each for each in known if each // 2 != subscriber // 2]
        self.registers[broker] = (retained, *sorted([*others, subscriber]))

    def forget(self, broker: int, subscriber: int) -> None:
        retained, *known = self.registers[broker]
        self.registers[broker] = (
            retained,
            *(each for each in known if each // 2 != subscriber // 2),
        )

    # Deliveries

    def deliver(self, code: int) -> None:
        node, broker, number, way = self.game.decoded(code)
        message = self.pop(code)
        if way == UP:
            self._at_broker(node, broker, number, message)
        elif self.is_alive(node) and self.connection(node, broker) == number:
            self._at_node(node, broker, message)

    def _at_node(self, node: int, broker: int, message: int) -> None:
        if self.table.messages[message][0] == "lost":
            number = self.connection(node, broker)
            self.end_up(node, broker, number)
            self.purge(self.game.code(node, broker, number, DOWN))
            self._set_connection(node, broker, -number)
        self.tell(node, broker, message)

    def _at_broker(self, node: int, broker: int, number: int, message: int) -> None:
        if not self.registers[broker]:
            return
        kind, *rest = self.table.messages[message]
        subscriber = self.game.subscriber(node, number, is_subscribed=True)
        if not any(each // 2 == subscriber // 2 for each in self.registers[broker][1:]):
            return
        match kind:
            case "record":
                self.registers[broker] = (message, *self.registers[broker][1:])
                self.broadcast(broker, message)
            case "subscribe":
                self._subscribe(broker, node, number, subscriber)
            case "end":
                self.forget(broker, subscriber)
                self.broadcast(broker, self.table.message("will", *rest))

    def _subscribe(self, broker: int, node: int, number: int, subscriber: int) -> None:
        self.know(broker, subscriber)
        code = self.game.code(node, broker, number, DOWN)
        retained = self.registers[broker][0]
        if retained:
            self.push(code, self.table.message("snapshot", *self.table.messages[retained][1:]))
        self.push(code, self.table.message("subscribed"))

    def broadcast(self, broker: int, message: int) -> None:
        for subscriber in self.registers[broker][1:]:
            node, number = self.game.of_subscriber(subscriber)
            if subscriber % 2 and self.is_alive(node) and self.connection(node, broker) == number:
                self.push(self.game.code(node, broker, number, DOWN), message)

    # Life and death

    def fall(self, node: int, down: int, *, is_silent: bool = False) -> None:
        """A node and its broker end. With power gone (`is_silent`) nobody is told."""
        for broker in range(self.game.broker_count):
            number = self.connection(node, broker)
            if number <= 0:
                continue
            self.purge(self.game.code(node, broker, number, DOWN))
            if is_silent:
                self.purge(self.game.code(node, broker, number, UP))
            else:
                self.end_up(node, broker, number)
                self._set_connection(node, broker, -number)
        self.crashes = max(0, self.crashes - 1)
        self.minds[node] = down
        self.frozen &= ~(1 << node)
        self.stop_broker(node, is_silent=is_silent)

    def stop_broker(self, broker: int, *, is_silent: bool = False) -> None:
        for subscriber in self.registers[broker][1:]:
            node, number = self.game.of_subscriber(subscriber)
            self.purge(self.game.code(node, broker, number, UP))
            code = self.game.code(node, broker, number, DOWN)
            if is_silent:
                self.purge(code)
            elif self.is_alive(node):
                self.push(code, self.table.message("lost"))
        self.registers[broker] = ()

    def boot(self, node: int) -> None:
        """Power up: what was left half open is reset now, the register begins with a seed."""
        for broker in range(self.game.broker_count):
            number = self.connection(node, broker)
            if number > 0:
                self.end_up(node, broker, number)
                self._set_connection(node, broker, -number)
        for other in range(self.game.node_count):
            number = self.connection(other, node)
            if other != node and number > 0 and self.is_alive(other):
                self.push(self.game.code(other, node, number, DOWN), self.table.message("lost"))
        saved = self.saved(node)
        self.minds[node] = self.table.born(node, self.minds[node])
        name, boot = self.game.names[node], self.table.traits[self.minds[node]].boot
        seed = Record(RecordId(name, f"{boot}-seed", 1), None, Kind.RELEASE, saved.term)
        self.registers[node] = (self.table.message("record", seed),)
        self.tell(node, node, self.table.message("woke"))

    def note(self, text: str) -> None:
        self.notes.append(text)
