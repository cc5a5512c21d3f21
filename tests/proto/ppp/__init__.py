"""Tests of wayleave.proto.ppp."""
