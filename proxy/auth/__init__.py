"""Who may come in: SigV4, TempAuth tokens, static users."""
