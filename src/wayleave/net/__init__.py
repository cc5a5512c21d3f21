"""Bytes, addresses and frames: what every other room stands on. No I/O, no clock."""
