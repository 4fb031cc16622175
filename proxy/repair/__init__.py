"""Background work that keeps the store whole: one worker shape, one runner, and the workers."""
