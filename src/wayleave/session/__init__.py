"""The domain: who is served, with what, for how long. Knows no wire format, no protocol, no I/O."""
