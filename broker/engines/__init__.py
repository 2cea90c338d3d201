"""The three engines behind one interface, each a child process."""
