"""Who may log on and what a role may do.

Passwords of people are slow to check on purpose: `Access.identify` then hands out a Challenge,
which the shell has checked by `Access.verify` in a thread, before any session is touched.
"""

import base64
import binascii
import hashlib
import hmac
import os
import threading
from dataclasses import dataclass
from typing import Final

from broker.protocol.packets import BAD_PASSWORD, NOT_AUTHORIZED
from broker.protocol.topics import covers
from broker.settings import Action, BrokerSettings, Role, User

# Answers and successes that are remembered; beyond that they are worked out again.
REMEMBERED: Final = 4096
# What is shown of a name that a stranger brings.
LONGEST_NAME: Final = 64
# About 50 ms on a Raspberry Pi 4; more would stall mosquitto, which checks on its only thread.
MOSQUITTO_ITERATIONS: Final = 20_000


class CompiledRole:
    """A role's rules, asked by topic; the answers are remembered within bounds."""

    __slots__ = ("_publish", "_publish_rules", "_read", "_read_rules", "name", "unlimited")

    def __init__(self, role: Role) -> None:
        self.name = role.name
        self.unlimited = role.unlimited
        self._publish_rules = _rules_for(role, Action.PUBLISH)
        self._read_rules = _rules_for(role, Action.SUBSCRIBE)
        self._publish: dict[str, bool] = {}
        self._read: dict[str, bool] = {}

    def may_publish(self, topic: str) -> bool:
        known = self._publish.get(topic)
        if known is None:
            known = _remember(self._publish, topic, _decide(self._publish_rules, topic))
        return known

    def may_read(self, topic: str) -> bool:
        """Asked again at delivery: a granted filter may be wider than a rule that denies."""
        known = self._read.get(topic)
        if known is None:
            known = _remember(self._read, topic, _decide(self._read_rules, topic))
        return known

    def may_subscribe(self, topic_filter: str) -> bool:
        """The first rule that covers the whole filter decides."""
        return _decide(self._read_rules, topic_filter)


def _rules_for(role: Role, action: Action) -> tuple[tuple[str, bool], ...]:
    return tuple((rule.topic_filter, rule.allow) for rule in role.rules if rule.action == action)


def _decide(rules: tuple[tuple[str, bool], ...], topic: str) -> bool:
    return next((allow for topic_filter, allow in rules if covers(topic_filter, topic)), False)


def _remember(cache: dict[str, bool], topic: str, answer: bool) -> bool:  # noqa: FBT001 - a value
    if len(cache) >= REMEMBERED:
        cache.clear()
    cache[topic] = answer
    return answer


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection is. `user` is None for an anonymous one."""

    user: str | None
    role: CompiledRole


@dataclass(frozen=True, slots=True)
class Refusal:
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """A password that takes long to check; `identity` is the answer if it is right."""

    identity: Identity
    verifier: str
    password: bytes


class Access:
    """The users and roles of one broker."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._roles = {role.name: CompiledRole(role) for role in settings.roles}
        self._users = {user.name: user for user in settings.users}
        self._anonymous = settings.anonymous
        # Successes, as digests under a key that is nowhere else, so that many connections of
        # one user cost one slow check. `verify` runs in threads.
        self._key = os.urandom(32)
        self._known: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def identify(
        self, username: str | None, password: bytes | None, certified: str | None = None
    ) -> Identity | Refusal | Challenge:
        """`certified` is the name in the client's certificate; it outranks what the client says."""
        if certified is not None:
            return self._identify_certified(certified)
        if username is None:
            return self._as_role(None, self._anonymous)
        user = self._users.get(username)
        if user is None or password is None:
            return Refusal(BAD_PASSWORD, "unknown user or no password")
        identity = self._as_role(user.name, user.role)
        if isinstance(identity, Refusal):
            return identity
        return self._check(user, password, identity)

    def identity_of(self, user: str | None) -> Identity | None:
        """A user who was let in before, with the rights of today; None if he has none."""
        known = self._users.get(user) if user is not None else None
        if user is not None and known is None:
            return None
        found = self._as_role(user, known.role if known else self._anonymous)
        return found if isinstance(found, Identity) else None

    def _identify_certified(self, name: str) -> Identity | Refusal:
        user = self._users.get(name)
        if user is None:
            what = f"no user {name[:LONGEST_NAME]!r}" if name else "not exactly one common name"
            return Refusal(NOT_AUTHORIZED, f"the certificate: {what}")
        return self._as_role(user.name, user.role)

    def _as_role(self, user: str | None, role_name: str | None) -> Identity | Refusal:
        role = self._roles.get(role_name) if role_name is not None else None
        if role is None:
            return Refusal(NOT_AUTHORIZED, "no role that may connect")
        return Identity(user, role)

    def _check(
        self, user: User, password: bytes, identity: Identity
    ) -> Identity | Refusal | Challenge:
        if user.verifier.startswith("token:"):
            digest = "token:" + hashlib.sha256(password).hexdigest()
            if hmac.compare_digest(digest, user.verifier):
                return identity
            return Refusal(BAD_PASSWORD, "wrong token")
        challenge = Challenge(identity, user.verifier, password)
        return identity if self._digest(challenge) in self._known else challenge

    def verify(self, challenge: Challenge) -> bool:
        """Slow; safe in any thread."""
        digest = self._digest(challenge)
        if digest in self._known:
            return True
        if not verify_password(challenge.verifier, challenge.password):
            return False
        with self._lock:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[digest] = None
        return True

    def _digest(self, challenge: Challenge) -> bytes:
        message = challenge.verifier.encode() + b"\0" + challenge.password
        return hmac.digest(self._key, message, "sha256")


def verify_password(verifier: str, password: bytes) -> bool:
    """Whether the password belongs to a `$argon2...` or `$7$...` verifier; no to any other."""
    if verifier.startswith("$argon2"):
        return _verify_argon2(verifier, password)
    return _verify_pbkdf2(verifier, password)


def hash_password(password: str) -> str:
    """A verifier for a person's password, of a cost that a Raspberry Pi can bear."""
    from argon2 import PasswordHasher, Type  # noqa: PLC0415 - heavy, and only people need it

    hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
    return hasher.hash(password)


def hash_password_for_mosquitto(password: str, iterations: int = MOSQUITTO_ITERATIONS) -> str:
    """A verifier in the format of mosquitto_passwd. For random tokens few iterations are enough."""
    salt = os.urandom(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    encoded = (base64.b64encode(each).decode() for each in (salt, key))
    return f"$7${iterations}$" + "$".join(encoded)


def _verify_argon2(verifier: str, password: bytes) -> bool:
    import argon2  # noqa: PLC0415 - heavy, and only needed where such a user exists

    try:
        return argon2.PasswordHasher().verify(verifier, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _verify_pbkdf2(verifier: str, password: bytes) -> bool:
    try:
        kind, iterations, salt, key = verifier.removeprefix("$").split("$")
        expected = base64.b64decode(key, validate=True)
        found = hashlib.pbkdf2_hmac(
            "sha512", password, base64.b64decode(salt, validate=True), int(iterations)
        )
    except (ValueError, OverflowError, binascii.Error):
        return False
    return kind == "7" and hmac.compare_digest(found, expected)
