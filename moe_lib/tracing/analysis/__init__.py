"""Questions asked of traces, each with the control that it needs."""
