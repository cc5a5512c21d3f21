"""DHCP for IPv4: the message, its options, the server's rules, the relay agent's option."""
