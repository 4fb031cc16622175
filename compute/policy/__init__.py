"""Who may do what: oslo.policy with upstream's rule names, so that operators' policy files work."""
