"""One request to images, with who makes it: what the functions in `api/` are given.

A handler that is a plain function runs on a database thread, a coroutine function on the event loop.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy.orm import Session

from compute.access import Context
from compute.image.cache import Cache
from compute.image.metadefs.schemas import Body
from compute.image.models import Image, ImageMember
from compute.image.protections import Protections
from compute.image.settings import Settings
from compute.image.sweeper import Sweeper
from compute.policy.enforcer import Enforcer
from compute.server.errors import BadRequest, Forbidden, NotFound
from compute.server.request import Answer, Request
from compute.site import Site

ROOM: Final = "image"


@dataclasses.dataclass(frozen=True)
class Images:
    """The room's own: its site, rules and settings, who deletes what nobody needs.

    spawn: begins a task by its id, on the event loop. protections: of properties; None for none.
    """

    site: Site
    enforcer: Enforcer
    settings: Settings
    sweeper: Sweeper
    spawn: Callable[[str], None]
    cache: Cache
    protections: Protections | None = None

    def is_admin(self, context: Context) -> bool:
        """Whether a caller sees everything."""
        return self.enforcer.allows("context_is_admin", {}, context.credentials)

    def allows(self, context: Context, operation: str, name: str) -> bool:
        """Whether a caller may `create`, `read`, `update` or `delete` a property of this name."""
        if self.protections is None:
            return True

        def policy(rule: str) -> bool:
            return self.enforcer.allows(rule, {}, context.credentials)

        return self.protections.allows(operation, name, context, policy)


@dataclasses.dataclass(frozen=True)
class Call:
    """A request on its way through a handler. path: what stood for the names in its route."""

    images: Images
    request: Request
    path: Mapping[str, str]
    context: Context

    @property
    def site(self) -> Site:
        """The process's."""
        return self.images.site

    @property
    def settings(self) -> Settings:
        """The room's."""
        return self.images.settings

    @property
    def is_admin(self) -> bool:
        """Whether the caller sees everything."""
        return self.images.is_admin(self.context)

    def may(self, operation: str, name: str) -> bool:
        """Whether the caller may do this with a property of this name."""
        return self.images.allows(self.context, operation, name)

    def readable(self, name: str) -> bool:
        """Whether the caller may read a property of this name."""
        return self.may("read", name)

    def read(self) -> AbstractContextManager[Session]:
        """A session on one snapshot."""
        return self.site.database.read()

    def write(self) -> AbstractContextManager[Session]:
        """A session that is alone in the room."""
        return self.site.database.write(ROOM, changes=False)

    def allowed(self, rule: str, image: Image | None = None, **more: Any) -> bool:
        """Whether the caller may, of this image or of none."""
        target: dict[str, Any] = {"project_id": self.context.project_id}
        if image is not None:
            target = {
                "project_id": image.owner,
                "owner": image.owner,
                "visibility": image.visibility,
                "member_id": "",
                "image_id": image.id,
            }
        return self.images.enforcer.allows(rule, {**target, **more}, self.context.credentials)

    def enforce(self, rule: str, image: Image | None = None, **more: Any) -> None:
        """Raises Forbidden where the caller may not."""
        if not self.allowed(rule, image, **more):
            raise Forbidden(f"Policy does not allow {rule}.")

    def membership(self, session: Session, image: Image) -> ImageMember | None:
        """The caller's project as a member of the image."""
        project = self.context.project_id
        return session.get(ImageMember, (image.id, project)) if project else None

    def sees(self, session: Session, image: Image) -> bool:
        """Whether the caller may know of an image, whatever the rules allow."""
        if self.is_admin or image.visibility in ("public", "community"):
            return True
        if image.owner is None or image.owner == self.context.project_id:
            return True
        return image.visibility == "shared" and self.membership(session, image) is not None

    def image(self, session: Session, rule: str) -> Image:
        """The image of the path, for a caller who may. Raises NotFound, Forbidden."""
        ident = self.path["image_id"]
        image = session.get(Image, ident)
        if image is None or not self.sees(session, image):
            raise unknown(ident)
        member = self.membership(session, image)
        more = {"member_id": member.member_id} if member is not None else {}
        if not self.allowed("get_image", image, **more):
            raise unknown(ident)
        self.enforce(rule, image, **more)
        return image

    def body(self, schema: Body) -> dict[str, Any]:
        """The body. Raises BadRequest."""
        if not self.request.body:
            raise BadRequest("Body expected in request.")
        fields = self.request.json()
        schema.check(fields)
        return fields

    def limit(self) -> int:
        """How many to list at most. Raises BadRequest."""
        said = self.request.query.get("limit")
        if said is None:
            return self.settings.limit_default
        try:
            limit = int(said)
        except ValueError as error:
            raise BadRequest("limit param must be an integer") from error
        if limit < 0:
            raise BadRequest("limit param must be positive")
        return min(limit, self.settings.limit_max)


def unknown(image_id: str) -> NotFound:
    """There is no such image, or none that the caller sees."""
    return NotFound(f"No image found with ID {image_id}")


Handler = Callable[[Call], Answer] | Callable[[Call], Awaitable[Answer]]
