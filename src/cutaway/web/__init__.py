"""HTTP plumbing that every server of the package shares: security, one compute thread, parameters, responses."""
