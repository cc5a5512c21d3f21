"""Tests of wayleave.proto.pppoe."""
