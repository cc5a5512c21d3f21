"""The lab tested alone, without the product in the gateway namespace."""
