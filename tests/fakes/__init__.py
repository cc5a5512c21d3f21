"""Stand-ins for the world, shared by the tests."""
