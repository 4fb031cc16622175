"""Tokens: what is in one, how it is proved, who gets one, what takes it back."""
