"""Tests of wayleave.proto."""
