"""Where volumes live: one contract, and the drivers that keep it."""
