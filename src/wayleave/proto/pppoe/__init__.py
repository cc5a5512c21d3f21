"""PPP over Ethernet: the headers and tags, the discovery of either side."""
