"""Tests of wayleave.net."""
