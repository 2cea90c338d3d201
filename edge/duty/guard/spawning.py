"""Turning a fork of the guard into a process of the duty; what hinders it is said in one line."""

import errno
import os
from _collections_abc import Callable, Mapping, Sequence

from edge.duty.guard import cgroup, privilege
from edge.duty.guard.small import signal

EXIT_NOT_STARTED = 127


class Plan:
    """What the child needs to know."""

    __slots__ = ("argv", "cgroup", "cwd", "env", "oom_score", "user")

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        user: tuple[int, int, Sequence[int]] | None,
        cgroup_path: str | None,
        oom_score: str,
    ) -> None:
        self.argv = list(argv)
        self.env = dict(env)
        self.cwd = cwd
        self.user = user
        self.cgroup = cgroup_path
        self.oom_score = oom_score


class Started:
    """A child and our ends of its pipes. `trouble` ends without a byte once it is a program."""

    __slots__ = ("output", "pid", "stdin", "trouble")

    def __init__(self, pid: int, output: int, stdin: int, trouble: int) -> None:
        self.pid = pid
        self.output = output
        self.stdin = stdin
        self.trouble = trouble


def start(plan: Plan) -> Started:
    """Fork; everything else happens in the child, so that a slow disk does not hold us up.

    OSError where there is no room for another process.
    """
    pipes: list[tuple[int, int]] = []
    try:
        pipes.extend(os.pipe() for _ in range(3))
        (output, output_there), (stdin_there, stdin), (trouble, trouble_there) = pipes
        pid = _fork(plan, (stdin_there, output_there, trouble_there))
    except OSError:
        for end in (end for both in pipes for end in both):
            os.close(end)
        raise
    for each in (output_there, stdin_there, trouble_there):
        os.close(each)
    for each in (output, stdin, trouble):
        os.set_blocking(each, False)
    return Started(pid, output, stdin, trouble)


def _fork(plan: Plan, pipes: tuple[int, int, int]) -> int:
    """We ignore SIGTERM, and so does a fork of ours until it is made ordinary: what comes before is
    kept back, not lost, or whoever ends it at once would wait for the whole grace.
    """
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(plan, parent, pipes)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    return pid


def _be_child(plan: Plan, parent: int, pipes: tuple[int, int, int]) -> None:
    """Never returns."""
    stdin, output, trouble = pipes
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("control group", lambda: _join(plan.cgroup)),
        ("session", os.setsid),
        ("pipes", lambda: _take_pipes(stdin, output)),
        ("limits", lambda: privilege.be_ordinary(plan.oom_score)),
        ("user", lambda: _become(plan.user)),
        ("folder", lambda: _enter(plan.cwd)),
        ("guard", lambda: privilege.die_with(parent)),
        ("program", lambda: _execute(plan)),
    )
    stage, number = "", 0
    try:
        for stage, step in steps:  # noqa: B007 - the last one says what failed
            step()
    except OSError as error:
        number = error.errno or 0
    finally:  # also after a mistake of ours: nobody else may go on from here
        os.write(trouble, f"{stage} {number}".encode())
        os._exit(EXIT_NOT_STARTED)


def _execute(plan: Plan) -> None:
    """As os.execvpe does, which imports a module first: its folder may be closed to this user."""
    program = plan.argv[0]
    folders = plan.env.get("PATH", os.defpath).split(":")
    paths = [program] if "/" in program else [f"{folder}/{program}" for folder in folders]
    telling: OSError | None = None
    for path in paths:
        try:
            os.execve(path, plan.argv, plan.env)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError) as error:
            telling = telling or error
        except OSError as error:
            telling = error
    assert telling is not None
    raise telling


def _join(cgroup_path: str | None) -> None:
    if cgroup_path is not None:
        cgroup.join(cgroup_path)


def _enter(cwd: str | None) -> None:
    if cwd is not None:
        os.chdir(cwd)


def _take_pipes(stdin: int, output: int) -> None:
    os.dup2(stdin, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _become(user: tuple[int, int, Sequence[int]] | None) -> None:
    if user is not None:
        uid, gid, groups = user
        os.setgroups(list(groups))
        os.setgid(gid)
        os.setuid(uid)


def in_words(plan: Plan, trouble: str) -> str:
    """What the child could not do."""
    stage, _, number = trouble.partition(" ")
    code = int(number or 0)
    match stage:
        case "program":
            return _program_in_words(plan.argv[0], code)
        case "folder":
            return f"working directory {plan.cwd}: {os.strerror(code)}"
        case "user" if code == errno.EPERM:
            return "only root may start it as another user"
        case _:
            return f"{stage}: {os.strerror(code)}"


def _program_in_words(program: str, code: int) -> str:
    match code:
        case errno.ENOENT | errno.ENOTDIR:
            return f"{program} does not exist (or the interpreter that it names)"
        case errno.EACCES:
            return f"{program} is not executable"
        case errno.ENOEXEC:
            return f"{program} is not a program: neither binary nor a script with a #! line"
        case _:
            return f"{program}: {os.strerror(code)}"
