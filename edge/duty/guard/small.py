"""What the guard needs of larger modules, without what these bring along: 1 MB on the whole."""

TYPE_CHECKING = False  # typing itself would cost 0.6 MB
if TYPE_CHECKING:
    import signal
    from types import TracebackType
else:
    import _signal as signal  # numbers instead of the enumerations that signal makes of them

__all__ = ["signal", "suppress"]


class suppress:  # noqa: N801 - as in contextlib, which needs collections and functools
    """Expected trouble in a block ends the block, and nothing else."""

    __slots__ = ("_kinds",)

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> bool:
        return kind is not None and issubclass(kind, self._kinds)
