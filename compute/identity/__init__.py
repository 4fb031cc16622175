"""Keystone v3 (3.14): domains, projects, users, groups, roles, tokens, catalog, credentials, trusts.

`service.py` answers requests; `api/` has the routes, `tokens/` what a token is and proves, the other
modules the logic of the resource in their name. Tables (`models/`) are private to this room.
"""
