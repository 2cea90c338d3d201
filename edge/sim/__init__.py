"""The simulator: the very core that the agent drives, in virtual time, under drawn faults."""
