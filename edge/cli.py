"""The command `edge`: what can be typed, and nothing else.

Every mistake that an operator can make ends here as one line and an exit code, see `main`.
"""

import asyncio
import sys
import tempfile
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edge.errors import OperatorError, SettingsError
from edge.settings.file import find_node, load_settings

if TYPE_CHECKING:
    from edge.commands.group import Group

app = typer.Typer(
    name="edge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Two or more machines act as one: exactly one is hot, another takes over when it dies. "
    "Try it on this machine: edge demo",
)


def _complete_node(context: typer.Context, incomplete: str) -> list[str]:
    """Node names out of the group file, for the shell."""
    try:
        settings = load_settings(context.params.get("config"))
    except SettingsError:
        return []
    return [name for name in settings.members if name.startswith(incomplete)]


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The group file. Default: EDGE_CONFIG, ./edge.toml, /etc/edge/edge.toml.",
    ),
]
Node = Annotated[
    str | None,
    typer.Option(
        "--node",
        "-n",
        metavar="NAME",
        autocompletion=_complete_node,
        help="Which node or witness this is. Default: EDGE_NODE, or the host name.",
    ),
]
Asked = Annotated[
    str | None,
    typer.Option(
        "--node",
        "-n",
        metavar="NAME",
        autocompletion=_complete_node,
        help="The node to ask first, and to log on as if the secret is readable.",
    ),
]
User = Annotated[
    str | None,
    typer.Option(
        "--user",
        "-u",
        metavar="NAME",
        help="Log on as this user; the password comes from EDGE_PASSWORD or is asked for. "
        "Default: as a node if the group's secret is readable, else anonymously.",
    ),
]
Target = Annotated[
    str | None,
    typer.Argument(metavar="[NODE]", autocompletion=_complete_node, show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


@app.command()
def run(config: Config = None, node: Node = None) -> None:
    """Run this node (or witness) until SIGTERM or Ctrl-C.

    A hot node hands over before it stops.
    """
    settings = load_settings(config)
    name = find_node(settings, node)
    from edge.app import run as run_node  # noqa: PLC0415  commands load only what they need

    raise typer.Exit(run_node(settings, name))


@app.command()
def check(config: Config = None, node: Node = None) -> None:
    """Check the file, this machine and the witnesses; each finding comes with its cure.

    Exit code: 0 fine (warnings may be there), 1 something will not work, 2 a bad file.
    """
    from edge.commands.check import check_everything  # noqa: PLC0415

    settings = load_settings(config)
    raise typer.Exit(check_everything(settings, find_node(settings, node)))


@app.command()
def status(
    config: Config = None, node: Asked = None, user: User = None, json: Json = False
) -> None:
    """Show the group once.

    Exit code: 0 redundant, 1 hot but degraded, 2 nobody is hot, 3 no node can be reached.
    """
    from edge.commands import group  # noqa: PLC0415

    _finish(group.status(_group(config, node, user), as_json=json))


@app.command()
def watch(config: Config = None, node: Asked = None, user: User = None) -> None:
    """Show the group live until Ctrl-C, from whichever node can be reached."""
    from edge.commands import group  # noqa: PLC0415

    _finish(group.watch(_group(config, node, user)))


@app.command()
def switchover(
    target: Target = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When, for example 2026-05-01T02:00:00Z.")
    ] = None,
    config: Config = None,
    node: Asked = None,
    user: User = None,
) -> None:
    """Move the hot role to NODE (default: the best standby), planned and without loss."""
    from edge.commands import group  # noqa: PLC0415

    arguments = _given(to=target, at=at)
    _finish(group.move(_group(config, node, user, target), "switchover", arguments))


@app.command()
def promote(
    target: Target = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it is not synchronised or not all are seen.")
    ] = False,
    config: Config = None,
    node: Asked = None,
    user: User = None,
) -> None:
    """Make NODE (default: the node asked) hot when nobody is and nobody becomes so by itself."""
    from edge.commands import group  # noqa: PLC0415

    arguments = _given(to=target, force=force or None)
    _finish(group.move(_group(config, node or target, user, target), "promote", arguments))


@app.command()
def pause(config: Config = None, node: Asked = None, user: User = None) -> None:
    """Maintenance: no node becomes hot by itself until `edge resume`; the hot one stays hot."""
    from edge.commands import group  # noqa: PLC0415

    _finish(group.order(_group(config, node, user), "pause", {}))


@app.command()
def resume(config: Config = None, node: Asked = None, user: User = None) -> None:
    """End the maintenance that `edge pause` began."""
    from edge.commands import group  # noqa: PLC0415

    _finish(group.order(_group(config, node, user), "resume", {}))


@app.command()
def history(
    config: Config = None, node: Asked = None, user: User = None, json: Json = False
) -> None:
    """Show the last role changes with their reason and the measured times."""
    from edge.commands import group  # noqa: PLC0415

    _finish(group.history(_group(config, node, user), as_json=json))


@app.command()
def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A recording-....jsonl of the state folder.")
    ],
    first: Annotated[
        int | None, typer.Option("--from", metavar="STEP", help="Negative: from the end.")
    ] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="STEP")] = None,
    changes: Annotated[bool, typer.Option("--changes", help="Only the role changes.")] = False,
    json: Json = False,
) -> None:
    """Repeat what a node recorded, step by step, with the core that is installed here.

    Exit code: 0 the same as recorded, 1 not the same, 2 a bad file.
    """
    from edge.commands.replay import Window, replay_file  # noqa: PLC0415

    raise typer.Exit(replay_file(file, Window(first, last, changes), as_json=json))


@app.command()
def password(
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="The broker's engine: embedded, amqtt, mosquitto.")
    ] = "embedded",
) -> None:
    """Make a user's password_hash for the file; asks twice, or reads one line from a pipe."""
    from edge.commands.password import make_hash  # noqa: PLC0415

    given = (
        typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        if sys.stdin.isatty()
        else sys.stdin.readline().rstrip("\n")
    )
    typer.echo(make_hash(engine, given))


@app.command()
def demo(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Kill the hot node, switch back, report the times, exit 0 or 1."
        ),
    ] = False,
) -> None:
    """Run a whole group on this machine: two nodes and a witness, nothing to configure."""
    from edge.commands.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(once=once))


Seed = Annotated[int | None, typer.Option(metavar="N", help="The first seed; alone: only this.")]
Seeds = Annotated[int | None, typer.Option(metavar="COUNT", help="How many seeds. Default: 100.")]
Drawn = Annotated[int | None, typer.Option(metavar="N", help="Default: drawn.")]
DrawnPolicy = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="majority, witness, availability or safety."),
]
Minutes = Annotated[
    float | None, typer.Option(metavar="M", help="Simulated time of trouble. Default: 20 leases.")
]
IsTraced = Annotated[bool, typer.Option("--trace", help="Show every step; for one --seed.")]
Jobs = Annotated[int, typer.Option(metavar="J", help="Processes to use.")]
Beyond = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FAULT",
        help="Also what the protocol does not promise to survive: frozen_reset, "
        "stale_snapshot, lost_delivery.",
    ),
]


@app.command()
def sim(  # noqa: PLR0913, PLR0917  one for each option
    seed: Seed = None,
    seeds: Seeds = None,
    nodes: Drawn = None,
    witnesses: Drawn = None,
    policy: DrawnPolicy = None,
    minutes: Minutes = None,
    trace: IsTraced = False,
    jobs: Jobs = 1,
    beyond: Beyond = None,
) -> None:
    """Run the protocol in virtual time under drawn faults; a seed repeats a run to the last step.

    Exit code: 0 every promise was kept, 1 one was broken (or Ctrl-C), 2 bad arguments.
    """
    from edge.commands import sim as simulation  # noqa: PLC0415

    request = simulation.read_request(
        seed=seed,
        seeds=seeds,
        nodes=nodes,
        witnesses=witnesses,
        policy=policy,
        minutes=minutes,
        jobs=jobs,
        beyond=beyond or [],
    )
    run_request = simulation.show_trace if trace else simulation.run_all
    raise typer.Exit(run_request(request))


def _given(**arguments: str | bool | None) -> dict[str, str | bool]:
    return {key: value for key, value in arguments.items() if value is not None}


def _group(
    config: Path | None, node: str | None, user: str | None, target: str | None = None
) -> "Group":
    from edge.commands.group import open_group  # noqa: PLC0415

    return open_group(load_settings(config), node, user, target)


def _finish(command: Coroutine[object, object, int]) -> NoReturn:
    raise typer.Exit(asyncio.run(command))


def main() -> None:
    """Run a command; whatever goes wrong reaches the operator as one line."""
    try:
        app()
    except OperatorError as error:
        _die(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  the last line of defence against a traceback
        _die(f"internal error, {type(error).__name__}: {error}; details are in {_details()}", 1)


def _die(line: str, code: int) -> NoReturn:
    typer.echo(f"edge: {line}", err=True)
    sys.exit(code)


def _details() -> str:
    """Keep the traceback for whoever is going to look for the mistake."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="edge-error-", suffix=".txt", delete=False
    ) as file:
        traceback.print_exc(file=file)
        return file.name
