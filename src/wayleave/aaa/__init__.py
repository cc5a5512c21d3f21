"""Who a client is and what it gets: authorization without and, later, with RADIUS."""
