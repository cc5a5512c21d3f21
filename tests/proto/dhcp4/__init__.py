"""Tests of wayleave.proto.dhcp4."""
