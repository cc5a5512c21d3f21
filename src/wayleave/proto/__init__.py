"""Codecs and machines of the access protocols: no I/O, no clock; each file names its RFC sections."""
