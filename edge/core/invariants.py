"""What must hold after every step. A broken one is our mistake: the process dies, the lease and
the guard make that safe."""

from edge.core import lease
from edge.core.state import State


def check(before: State, after: State) -> None:
    assert after.now >= before.now, "time ran backwards"
    assert after.saved.term >= before.saved.term, "a term was forgotten"
    assert not (after.tenure is not None and after.attempt is not None), "claiming while hot"
    if after.tenure is not None:
        assert after.now < lease.lease_until(after), "hot without a lease"
        assert after.tenure.term <= after.saved.term, "hot with an unsaved term"
        assert after.me.can_be_hot, "a witness became hot"
