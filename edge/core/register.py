"""One register as one subscriber sees it: effect, gaps, who holds it, whose will was published.

Upholds docs/protocol.md, Records. Every subscriber of a broker sees one order, so all views of a
register agree about each record from the moment that they are subscribed.
"""

from enum import StrEnum
from math import inf

from edge.core.model import Kind, Record, RecordId
from edge.core.state import Holder, Presence, View
from edge.core.values import replace

# Sessions remembered per register. An older one can only be replayed by somebody hostile, and a
# replay is at worst a gap, which never makes anybody hold anything.
PRESENCES_MAX = 32


class Verdict(StrEnum):
    DUPLICATE = "duplicate"
    EFFECTIVE = "effective"
    GAP = "gap"
    INEFFECTIVE = "ineffective"


def judge(view: View, record: Record) -> Verdict:
    """The rule of effect, in the order of the specification.

    A release by nobody's holder (the seed of an empty register) is ineffective on purpose: it
    carries the term, but a register is never free because somebody says so who did not hold it.
    """
    if has_seen(view, record.id):
        return Verdict.DUPLICATE
    if record.basis == view.tail and may_follow(view, record):
        return Verdict.EFFECTIVE
    if record.basis is not None and not has_seen(view, record.basis):
        return Verdict.GAP
    return Verdict.INEFFECTIVE


def may_follow(view: View, record: Record) -> bool:
    """A claim may follow anything; a renewal or a release only its own node's holding.

    "Its own node's", not "its own session's": a node with two paths renews over either. A
    snapshot may show a record that had no effect; the holder whose renewal follows it is the
    true one, for nobody renews what he does not hold.
    """
    if record.kind is Kind.CLAIM or view.holder is None:
        return record.kind is Kind.CLAIM
    is_unsure = view.holder.is_assumed and record.kind is Kind.RENEW
    return is_unsure or view.holder.node == record.id.node


def is_own(view: View, record: Record, me: str) -> bool:
    """Sent by this very process. A session begins with the boot id of the life that it is of."""
    return record.id.node == me and _life_of(record.id.session) == _life_of(view.session)


def _life_of(session: str) -> str:
    return session.partition("-")[0]


def has_seen(view: View, record_id: RecordId) -> bool:
    """Counters of a session only grow, so the highest one stands for all that were seen."""
    known = presence_of(view, record_id.node, record_id.session)
    return known is not None and record_id.counter <= known.counter


def heard_at(view: View) -> float:
    """When this session last brought anything: a word, a heartbeat, a record, also our own."""
    return max([each.heard_at for each in view.presences], default=-inf)


def presence_of(view: View, node: str, session: str) -> Presence | None:
    for each in view.presences:
        if each.session == session and each.node == node:
            return each
    return None


def with_record(
    view: View, record: Record, *, me: str, now: float, lease: float, retained: bool = False
) -> tuple[View, Verdict]:
    """The view after `record`. In every case but a duplicate it is the new tail."""
    if retained and view.tail is None:
        return _with_snapshot(view, record, me=me, now=now), Verdict.INEFFECTIVE
    verdict = Verdict.DUPLICATE if retained else judge(view, record)
    match verdict:
        case Verdict.DUPLICATE:
            return view, verdict
        case Verdict.EFFECTIVE:
            until = _holding_until(view, record, me, lease)
            view = _with_effective(view, record, until, now)
        case Verdict.GAP:
            holder = Holder(record.id.node, record.id.session, is_assumed=True)
            view = replace(view, holder=holder, is_free=False, held_until=-inf, gap_at=now)
        case Verdict.INEFFECTIVE:
            view = replace(view, is_free=False)
    return _heard_record(view, record, me=me, now=now), verdict


def _with_snapshot(view: View, record: Record, *, me: str, now: float) -> View:
    """A fresh subscriber takes the retained record as the tail, and its sender, to be safe, as
    the holder, heard now."""
    view = _heard_record(view, record, me=me, now=now)
    return replace(view, holder=Holder(record.id.node, record.id.session, is_assumed=True))


def _heard_record(view: View, record: Record, *, me: str, now: float) -> View:
    """Any record of another node restarts the wait for a claim, and so does one in our name that
    this life did not send: a copied disk is another node, whatever it calls itself."""
    view = with_presence(
        view, record.id.node, record.id.session, counter=record.id.counter, now=now
    )
    heard_other_at = view.heard_other_at if is_own(view, record, me) else now
    outstanding = view.outstanding
    if outstanding is not None and outstanding.id == record.id:
        outstanding = None
    return replace(view, tail=record.id, heard_other_at=heard_other_at, outstanding=outstanding)


def _holding_until(view: View, record: Record, me: str, lease: float) -> float:
    """How long we hold this register through this session once `record` took effect.

    Counted on our own clock from before our record was sent; somebody else's ends it.
    """
    if not is_own(view, record, me) or record.kind is Kind.RELEASE:
        return -inf
    if view.outstanding is None or view.outstanding.id != record.id:
        return view.held_until
    return view.outstanding.sent_at + lease


def _with_effective(view: View, record: Record, until: float, now: float) -> View:
    if record.kind is Kind.RELEASE:
        return replace(
            view, holder=None, is_free=True, free_for=record.to, freed_at=now, held_until=until
        )
    holder = Holder(record.id.node, record.id.session)
    return replace(view, holder=holder, is_free=False, held_until=until)


def with_presence(
    view: View, node: str, session: str, *, now: float, counter: int | None = None
) -> View:
    """A live sign of this session. It voids nothing: a session once willed is never reused."""
    known = presence_of(view, node, session) or Presence(node, session)
    return replace(view, presences=heard_again(view, known, now, counter or 0))


def heard_again(view: View, known: Presence, now: float, counter: int) -> tuple[Presence, ...]:
    fresh = replace(known, heard_at=now, counter=max(known.counter, counter))
    return _with_last(view, known, fresh)


def with_will(view: View, node: str, session: str, *, now: float) -> View:
    known = presence_of(view, node, session) or Presence(node, session)
    if known.willed_at is not None:
        return view
    willed = replace(known, willed_at=now)
    return replace(view, presences=_with_last(view, known, willed))


def _with_last(view: View, known: Presence, news: Presence) -> tuple[Presence, ...]:
    """The presences in the order in which they were last news."""
    others = [each for each in view.presences if each is not known]
    return (*others[1 - PRESENCES_MAX :], news)


def willed_at(view: View, node: str, *, now: float, within: float) -> float | None:
    """When this broker published the will of `node`'s last living session, or None.

    A node with two paths has two sessions here; one of them that was heard within `within`
    seconds and has no will speaks for its life.
    """
    wills = [
        each.willed_at
        for each in view.presences
        if each.node == node and each.willed_at is not None
    ]
    lives = any(
        each.willed_at is None and now - each.heard_at <= within
        for each in view.presences
        if each.node == node
    )
    return None if lives or not wills else max(wills)
