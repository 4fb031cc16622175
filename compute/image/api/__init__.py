"""The image API's routes: each is one function, with its schema and its rule beside it."""

from compute.image.api import cached, discovery, files, images, imports, members
from compute.image.call import Handler

ROUTES: list[tuple[str, str, Handler]] = [
    *images.ROUTES,
    *members.ROUTES,
    *files.ROUTES,
    *imports.ROUTES,
    *cached.ROUTES,
    *discovery.ROUTES,
]
