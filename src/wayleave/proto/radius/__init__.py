"""RADIUS: codecs and rules, no I/O."""
