"""The node's log. Like the broker's it is never waited for: a lease does not wait either."""

import logging
import math

from broker.log import Log


class LogHandler(logging.Handler):
    """Lines on standard error; those that nobody takes are counted."""

    def __init__(self) -> None:
        super().__init__()
        self._log = Log(lines_per_second=math.inf)

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._log.write(line)
