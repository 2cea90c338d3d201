"""The tables of `[duty]`: what being hot means outside, and how it is watched."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from edge.settings.values import (
    Endpoint,
    InterfaceAddress,
    Name,
    Seconds,
    Table,
    Text,
    refuse_truth,
)


class RunOn(StrEnum):
    """When a process runs. A node that is not hot counts as standby, whatever it waits for."""

    HOT = "hot"
    STANDBY = "standby"
    ALWAYS = "always"


def _check_word(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character in it, no program can be given one; leave it out")
    return text


def _check_program(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command[0]:
        raise ValueError("begins with an empty word; name the program first")
    return command


def _check_directory(text: str) -> str:
    if not Path(text).is_absolute():
        raise ValueError('is not an absolute path; write it from the root: "/home/pi/..."')
    return text


def _check_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("is not the name of a variable; use letters, digits and _")
    if text.startswith("EDGE_"):
        raise ValueError("is set by edge itself; variables that begin with EDGE_ are reserved")
    return text


def _check_unit(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*", text):
        raise ValueError('is not the name of a systemd unit; write it like "nodered.service"')
    return text


def _check_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", text):
        raise ValueError('is not a web address; write it like "http://127.0.0.1:1880/"')
    return text


def _check_topic(text: str) -> str:
    if any(each in text for each in "+#\0"):
        raise ValueError("is not one topic, it has a wildcard in it; name the topic that changes")
    return text


Word = Annotated[str, AfterValidator(_check_word)]
Command = Annotated[tuple[Word, ...], Field(min_length=1), AfterValidator(_check_program)]
Directory = Annotated[str, AfterValidator(_check_word), AfterValidator(_check_directory)]
Variable = Annotated[str, AfterValidator(_check_variable)]
Unit = Annotated[str, AfterValidator(_check_unit)]
Url = Annotated[str, AfterValidator(_check_url)]
Topic = Annotated[str, Field(min_length=1), AfterValidator(_check_topic)]
Count = Annotated[int, BeforeValidator(refuse_truth), Field(ge=0, le=1000)]
AtLeastOne = Annotated[int, BeforeValidator(refuse_truth), Field(ge=1, le=1000)]


class DutyAddress(Table):
    address: InterfaceAddress
    interface: Text


class Health(Table):
    """One way to see that a process does its work, asked every `interval` seconds."""

    tcp: Endpoint | None = None
    http: Url | None = None
    command: Command | None = None
    topic: Topic | None = None
    max_age: Seconds = 10.0
    interval: Seconds = 2.0
    timeout: Seconds = 2.0
    failures: AtLeastOne = 3

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        given = [each for each in (self.tcp, self.http, self.command, self.topic) if each]
        if len(given) != 1:
            raise ValueError(
                "must have exactly one of tcp, http, command and topic; "
                'write { tcp = "127.0.0.1:1880" }'
            )
        return self


class DutyProcess(Table):
    """A program or a systemd unit; see docs/duty.md for each key."""

    name: Name
    command: Command | None = None
    unit: Unit | None = None
    directory: Directory | None = None
    environment: dict[Variable, Word] = Field(default={}, repr=False)
    user: Text | None = None
    run_on: RunOn = RunOn.HOT
    instance: bool = False
    start_timeout: Seconds = 30.0
    stop_timeout: Seconds = 5.0
    restart_delay: Seconds = 1.0
    restart_delay_max: Seconds = 30.0
    max_restarts: Count = 3
    restart_window: Seconds = 60.0
    health: Health | None = None

    @model_validator(mode="after")
    def _one_way_to_run(self) -> Self:
        if (self.command is None) == (self.unit is None):
            raise ValueError('must have either command or unit; write command = ["program", "..."]')
        return self

    @model_validator(mode="after")
    def _a_unit_has_its_own_file(self) -> Self:
        if self.unit is None:
            return self
        for key in ("directory", "environment", "user"):
            if getattr(self, key):
                raise ValueError(f"has a unit and {key}; write {key} into the unit's own file")
        if self.instance:
            raise ValueError("is a unit, which cannot be told its role; write command = [...]")
        return self

    @model_validator(mode="after")
    def _an_instance_runs_everywhere(self) -> Self:
        if self.instance and self.run_on is not RunOn.ALWAYS:
            raise ValueError('is an instance, which runs on every node; write run_on = "always"')
        return self

    @model_validator(mode="after")
    def _delays_grow(self) -> Self:
        if self.restart_delay > self.restart_delay_max:
            raise ValueError(
                f"has a restart_delay ({self.restart_delay:g} s) that is longer than "
                f"restart_delay_max ({self.restart_delay_max:g} s); make it shorter"
            )
        return self


class DutyHook(Table):
    """Commands that run at a moment, one table for what belongs together."""

    on_hot: Command | None = None
    on_standby: Command | None = None
    on_alert: Command | None = None
    may_switch: Command | None = None
    timeout: Seconds = 5.0
    required: bool = True

    @model_validator(mode="after")
    def _something_to_run(self) -> Self:
        if not (self.on_hot or self.on_standby or self.on_alert or self.may_switch):
            raise ValueError(
                'does nothing; write on_hot = ["program", "..."], on_standby, on_alert '
                "or may_switch"
            )
        return self


class Duty(Table):
    """What being hot means outside. `grace` is between SIGTERM and SIGKILL when the lease ends."""

    grace: Seconds = 0.25
    address: tuple[DutyAddress, ...] = ()
    process: tuple[DutyProcess, ...] = ()
    hook: tuple[DutyHook, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.address or self.process or self.hook)

    @property
    def stop_limit(self) -> float:
        """The longest that an orderly end takes by the file, seconds."""
        processes = sum(each.stop_timeout for each in self.process if each.run_on != RunOn.STANDBY)
        return processes + sum(each.timeout for each in self.hook if each.on_standby)

    @property
    def switch_limit(self) -> float:
        """The longest until a planned switchover has ended the duty, seconds: whoever may object
        is asked before."""
        return self.stop_limit + sum(each.timeout for each in self.hook if each.may_switch)

    @property
    def health_topics(self) -> tuple[str, ...]:
        """The topics whose last change somebody must know."""
        topics = (each.health.topic for each in self.process if each.health)
        return tuple(dict.fromkeys(topic for topic in topics if topic))
