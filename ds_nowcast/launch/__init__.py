"""Between a launcher and a command: who a process is among the ranks, the options all commands share, how one ends."""
