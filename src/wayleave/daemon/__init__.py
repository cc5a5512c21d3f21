"""The running gateway: the engine's turn, and the only place where things are constructed."""
