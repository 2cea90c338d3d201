"""The composition root: settings become a running node."""

from edge.app.node import run

__all__ = ["run"]
