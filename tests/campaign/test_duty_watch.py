"""What the watch of the virtual address makes of what it sees."""

from tests.campaign.duty_watch import DutyWatch

ADDRESS = b"\x0a\x4d\x00\xc8"


class Kernel:
    """A node's kernel, as far as it is asked."""

    def __init__(self) -> None:
        self.has = False

    def addresses(self) -> list["Kernel"]:
        return [self] if self.has else []

    packed = ADDRESS


def watch_of(*names: str) -> tuple[DutyWatch, dict[str, Kernel]]:
    kernels = {name: Kernel() for name in names}
    return DutyWatch(ADDRESS, kernels), kernels  # type: ignore[arg-type]


def test_an_address_that_moves_is_no_overlap() -> None:
    watch, kernels = watch_of("white", "black")
    for white, black in ((True, False), (False, False), (False, True)):
        kernels["white"].has, kernels["black"].has = white, black
        watch.look()
    assert (watch.overlaps(), watch.moves()) == ([], 1)


def test_two_holders_at_one_time_are_found_with_their_time() -> None:
    watch, kernels = watch_of("white", "black")
    kernels["white"].has = kernels["black"].has = True
    watch.look()
    kernels["white"].has = False
    watch.look()
    (both,) = watch.overlaps()
    assert both.nodes == ("white", "black")
    assert both.ended_at > both.began_at
    assert "two nodes had it 1 times" in "\n".join(watch.lines([], 0.0))
