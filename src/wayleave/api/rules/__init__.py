"""What can be wrong with one client, from what everybody depends on to the way to the destination."""
