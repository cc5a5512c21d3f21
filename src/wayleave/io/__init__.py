"""Input and output, one port a file: clock, frames, store, netlink."""
