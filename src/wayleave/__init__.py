"""Wayleave: a distributed broadband network gateway (BNG). See ARCHITECTURE.md."""

__version__ = "0.1.0"
