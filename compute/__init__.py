"""The add-on: an OpenStack cloud beside the store, which it reaches by its public HTTP API alone.

One process on one port, a path per service (`server/`), state in one database (`database/`), access
by `policy/`. Rooms: `identity`. It imports nothing of the store but `runtime`.
"""
