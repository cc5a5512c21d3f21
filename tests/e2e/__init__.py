"""Stories told on the wire: real clients in the lab, the whole gateway, one file a story."""
