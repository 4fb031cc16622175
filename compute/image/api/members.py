"""/v2/images/{image_id}/members: with whom an image is shared."""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from compute.image.call import Call, Handler
from compute.image.models import Image, ImageMember
from compute.image.views import member_view
from compute.server.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge
from compute.server.request import NO_CONTENT, Answer, json_answer

STATUSES: Final = ("pending", "accepted", "rejected")


def _shared(call: Call, session: Session, rule: str) -> Image:
    """Raises NotFound, Forbidden."""
    image = call.image(session, rule)
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return image


def _member(session: Session, image: Image, member_id: str) -> ImageMember:
    found = session.get(ImageMember, (image.id, member_id))
    if found is None:
        raise NotFound(f"{member_id} not found in the member list of the image {image.id}.")
    return found


def _is_owner(call: Call, image: Image) -> bool:
    return call.is_admin or image.owner == call.context.project_id


def list_members(call: Call) -> Answer:
    """GET: all for the owner, a member sees itself."""
    with call.read() as session:
        image = _shared(call, session, "get_members")
        query = select(ImageMember).where(ImageMember.image_id == image.id)
        if not _is_owner(call, image):
            query = query.where(ImageMember.member_id == call.context.project_id)
        rows = session.scalars(query.order_by(ImageMember.created_us, ImageMember.member_id))
        return json_answer(
            {"members": [member_view(row) for row in rows], "schema": "/v2/schemas/members"}
        )


def create_member(call: Call) -> Answer:
    """POST {"member": project}."""
    member_id = call.request.json().get("member")
    if not isinstance(member_id, str) or not 0 < len(member_id) <= 255:
        raise BadRequest("Member to be added not specified")
    with call.write() as session:
        image = _shared(call, session, "add_member")
        if session.get(ImageMember, (image.id, member_id)) is not None:
            raise Conflict(f"Member {member_id} is duplicated for image {image.id}")
        count = select(func.count()).where(ImageMember.image_id == image.id)
        if (session.scalar(count) or 0) >= call.settings.members_max:
            raise TooLarge(
                f"The limit has been exceeded on the number of allowed image members for this"
                f" image. Maximum: {call.settings.members_max}"
            )
        now_us = call.site.now_us()
        row = ImageMember(
            image_id=image.id,
            member_id=member_id,
            status="pending",
            created_us=now_us,
            updated_us=now_us,
        )
        session.add(row)
        return json_answer(member_view(row))


def show_member(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        image = _shared(call, session, "get_member")
        member_id = call.path["member_id"]
        if not _is_owner(call, image) and member_id != call.context.project_id:
            raise NotFound(f"{member_id} not found in the member list of the image {image.id}.")
        return json_answer(member_view(_member(session, image, member_id)))


def update_member(call: Call) -> Answer:
    """PUT {"status": …}, by the member itself."""
    status = call.request.json().get("status")
    if status is None:
        raise BadRequest("Status not specified")
    if status not in STATUSES:
        raise BadRequest(f"Incorrect request: Status is not one of {', '.join(STATUSES)}")
    with call.write() as session:
        image = _shared(call, session, "get_members")
        row = _member(session, image, call.path["member_id"])
        is_own = row.member_id == call.context.project_id or call.is_admin
        member = {"member_id": row.member_id}
        if not is_own or not call.allowed("modify_member", image, **member):
            raise Forbidden(f"Not allowed to update members for image {image.id}.")
        row.status = status
        row.updated_us = call.site.now_us()
        return json_answer(member_view(row))


def delete_member(call: Call) -> Answer:
    """DELETE of one."""
    with call.write() as session:
        image = _shared(call, session, "delete_member")
        session.delete(_member(session, image, call.path["member_id"]))
    return NO_CONTENT


_ALL: Final = "/v2/images/{image_id}/members"
_ONE: Final = f"{_ALL}/{{member_id}}"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", _ALL, list_members),
    ("POST", _ALL, create_member),
    ("GET", _ONE, show_member),
    ("PUT", _ONE, update_member),
    ("DELETE", _ONE, delete_member),
]
