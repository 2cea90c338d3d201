"""What `edge check` looks at for TLS: the certificate, its key, who can read it."""

import stat
import time
from collections.abc import Iterable

from broker.errors import EngineError
from broker.server.certificates import running_out
from edge.access import tls_files
from edge.commands.check_machine import Finding, Level
from edge.settings import Settings


def tls_findings(settings: Settings) -> Iterable[Finding]:
    tls = settings.broker.tls_in_use
    if tls is None:
        return
    try:
        sentence = running_out(tls_files(tls), time.time())
    except EngineError as error:
        yield Finding(Level.PROBLEM, str(error), "mend the file, or name another one")
        return
    if sentence:
        yield Finding(Level.WARNING, sentence, "replace both files; the node need not be restarted")
    else:
        yield Finding(Level.OK, f"the certificate {tls.certificate} and its key are usable")
    if stat.S_IMODE(tls.key.stat().st_mode) & stat.S_IRWXO:
        yield Finding(
            Level.WARNING,
            f"the key {tls.key} can be read by every user, who could act as this broker",
            f"chmod o= {tls.key}",
        )
