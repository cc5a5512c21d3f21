"""The local API: what the CLI and others see of a running gateway."""
