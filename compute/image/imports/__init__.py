"""Imports: from staged bytes, from the web, from another store. A task does it beside the request."""
