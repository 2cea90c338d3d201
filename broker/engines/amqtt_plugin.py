"""Our users, roles and seeds inside amqtt, as one of its plugins.

`broker.admission.access` decides, so that access is written once. amqtt publishes a will without
asking anybody, therefore a will that its role may not publish is taken out at log-on.
"""

import asyncio
from dataclasses import dataclass, field

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from broker.admission.access import Access, Challenge, CompiledRole, Identity, Refusal
from broker.settings import from_json

PARALLEL_CHECKS = 2  # a slow password hash costs 20 MB and a core


class AccessPlugin(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]  # amqtt has no types
    """Loaded by amqtt by its dotted name."""

    @dataclass
    class Config:
        """amqtt fills this from the dictionary that stands beside the plugin's name."""

        settings_json: str = field(default="")

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._settings = from_json(self.config.settings_json)
        self._access = Access(self._settings)
        self._checks = asyncio.Semaphore(PARALLEL_CHECKS)
        self._roles: dict[str | None, CompiledRole] = {}

    async def on_broker_pre_start(self) -> None:
        """amqtt has just forgotten its retained messages and does not listen yet."""
        for topic, payload in self._settings.seed:
            await self.context.retain_message(topic, payload.encode(), 1)

    async def authenticate(self, *, session: Session) -> bool:
        """May this client connect? A will that it may not publish is forgotten here."""
        password = session.password.encode() if session.password is not None else None
        answer = self._access.identify(session.username, password)
        if isinstance(answer, Challenge):
            answer = await self._checked(answer)
        if isinstance(answer, Refusal):
            return False
        if session.will_flag and not answer.role.may_publish(session.will_topic):
            session.will_flag = False
        # Left out on purpose: `is_anonymous`, with which amqtt keeps no messages for the session.
        self._roles[answer.user] = answer.role
        return True

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        """May the client of this session do this?"""
        role = self._roles.get(session.username) if session is not None else None
        if role is None or topic is None:
            return False
        if action == Action.PUBLISH:
            return role.may_publish(topic)
        return role.may_subscribe(topic) if action == Action.SUBSCRIBE else role.may_read(topic)

    async def _checked(self, challenge: Challenge) -> Identity | Refusal:
        async with self._checks:
            is_right = await asyncio.to_thread(self._access.verify, challenge)
        return challenge.identity if is_right else Refusal(5, "wrong password")
