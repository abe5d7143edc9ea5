"""Watch the routing of a model while it trains, with any loop. See `RoutingMonitor`."""
