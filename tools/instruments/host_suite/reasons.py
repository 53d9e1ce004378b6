"""Differences between plain runs of the host's tests and runs with this package that are right, and why."""

REASONS: dict[str, str] = {}
"""By name of the test; after ``@`` the way it was run, where it is not the usual one."""
