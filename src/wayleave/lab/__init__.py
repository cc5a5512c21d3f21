"""A broadband network in network namespaces: customers, an access node, the gateway, a core. For demos and tests."""
