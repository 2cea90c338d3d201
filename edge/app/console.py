"""What the console shows of a running node: the narrow way from the agent to HTTP."""

import asyncio

from edge.agent import Agent
from edge.board import Board
from edge.console.answers import Answer, Snapshot, answer
from edge.console.http import HttpServer, listen
from edge.core import lease, peers
from edge.core.model import Phase, Role
from edge.settings import Settings
from edge.settings.values import Anonymous


async def run_console(settings: Settings, agent: Agent, board: Board) -> None:
    """Serve until cancelled; nothing to do without [console]."""
    if settings.console is None:
        return

    def respond(path: str) -> Answer:
        return answer(path, take_snapshot(settings, agent, board))

    listener = listen(settings.broker.host, settings.console.port)
    await HttpServer(respond).serve(listener)


def take_snapshot(settings: Settings, agent: Agent, board: Board) -> Snapshot:
    """Whether the lease holds is looked at now, whatever the role said at the last step."""
    state = agent.state
    does_duty = state.role is Role.HOT and state.phase is Phase.NONE
    is_acting = does_duty and asyncio.get_running_loop().time() < lease.acts_until(state)
    level = peers.service_level(state)
    hot, term, _ = board.hot_word()
    return Snapshot(
        group=settings.group,
        node=state.me.name,
        role=state.role,
        phase=state.phase,
        reason=state.reason,
        term=state.tenure.term if state.tenure else term or state.term,
        hot=hot,
        service_level=level,
        is_acting=is_acting,
        is_ready=state.role is Role.STANDBY and level >= peers.HEALTHY,
        is_witness=state.role is Role.WITNESS,
        is_public=settings.access.anonymous is not Anonymous.NONE,
        state=lambda: board.describe(state),
    )
