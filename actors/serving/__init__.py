"""The relay server on Ray Serve: deployments, protocol, accounting and budgets."""
