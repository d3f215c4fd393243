"""The live pilot: what a real model costs a turn of several agents, beside a stub that replays its answers."""
