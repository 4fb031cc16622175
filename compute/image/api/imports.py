"""Staging, importing, and the tasks that do it."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.image import quotas
from compute.image.api.files import announced_bytes, check_octets
from compute.image.api.images import IMPORT_METHODS
from compute.image.call import Call, Handler
from compute.image.imports.runner import said_import
from compute.image.imports.tasks import begin_task, task_view
from compute.image.imports.web import passes
from compute.image.models import Image, ImageCopy, Staged, Task
from compute.image.settings import Store
from compute.image.transfer import TooMuch, Written
from compute.image.uploads import Begun, begin, perform
from compute.server.errors import (
    Absent,
    BadRequest,
    Conflict,
    MethodNotAllowed,
    NotFound,
    TooLarge,
)
from compute.server.request import NO_CONTENT, Answer, json_answer

_ABSENT_METHODS: Final = ("glance-download",)
_STATUSES: Final = ("pending", "processing", "success", "failure")


async def stage(call: Call) -> Answer:
    """PUT /v2/images/{image_id}/stage: the bytes wait in the object store, for any host."""
    check_octets(call)
    stream = call.request.stream
    assert stream is not None

    def begin_staging() -> Begun:
        with call.write() as session:
            image = call.image(session, "modify_image")
            announced_mib = quotas.announced_mib(call.request)
            wanted = {"image_stage_total": announced_mib, "image_count_uploading": 1}
            quotas.check(session, call.settings, image.owner, wanted)
            place = Store("staging", None)
            return begin(call.images, session, image, place, "uploading", inspect=False)

    begun = await call.site.database.run(begin_staging)

    def finish(session: Session, image: Image, written: Written) -> None:
        session.add(
            Staged(
                image_id=image.id,
                container=begun.container,
                prefix=begun.prefix,
                parts=written.parts,
            )
        )
        image.size_bytes = None

    try:
        await perform(call.images, begun, stream, finish, announced_bytes(call.request))
    except TooMuch as error:
        limit = call.settings.size_max_bytes
        raise TooLarge(f"The image's size is limited to {limit} bytes.") from error
    return NO_CONTENT


async def import_image(call: Call) -> Answer:
    """POST /v2/images/{image_id}/import: 202, a task does it."""
    body = _checked(call.request.json())

    def start() -> str | None:
        with call.write() as session:
            return _begin(call, session, body)

    task_id = await call.site.database.run(start)
    if task_id is not None:
        call.images.spawn(task_id)
    return Answer(202)


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """Raises BadRequest, Absent."""
    method = body.get("method")
    if not isinstance(method, dict):
        raise BadRequest("Import request requires a 'method' field.")
    name = method.get("name")
    if name is None:
        raise BadRequest("Import request requires a 'name' field.")
    if name in _ABSENT_METHODS:
        raise Absent(f"The import method {name} is not there.")
    if name not in IMPORT_METHODS:
        raise BadRequest(f"Unknown import method name '{name}'.")
    for flag in ("all_stores_must_succeed", "all_stores"):
        if not isinstance(body.get(flag, False), bool):
            raise BadRequest(f"'{flag}' must be boolean value only")
    stores = body.get("stores", [])
    if not isinstance(stores, list) or not all(isinstance(each, str) for each in stores):
        raise BadRequest("'stores' must be a list of names")
    if stores and body.get("all_stores"):
        raise BadRequest("all_stores parameter can't be used with stores parameter")
    return body


def _begin(call: Call, session: Session, body: dict[str, Any]) -> str | None:
    """The task's id; None where nothing is to be done. Raises BadRequest, Conflict, Forbidden."""
    method = body["method"]["name"]
    image = call.image(session, "copy_image" if method == "copy-image" else "modify_image")
    _check_status(image, method)
    if image.importing_to:
        raise Conflict(
            f"New operation on image '{image.id}' is not permitted as prior operation is still in"
            " progress"
        )
    stores = _stores(call, session, image, body)
    if not stores:  # clients wait for these to be empty, whatever there was to do
        image.importing_to = image.failed_stores = ""
        return None
    uri = body["method"].get("uri")
    if method == "web-download" and not passes(uri, call.settings):
        raise BadRequest(f"URI for web-download does not pass filtering: {uri}")
    if method != "copy-image":
        image.status = "importing"
    image.importing_to, image.failed_stores = ",".join(stores), ""
    image.updated_us = call.site.now_us()
    said = said_import(image.id, body, stores)
    request_id = call.request.request_id
    return begin_task(
        call.images, session, call.context, request_id, "api_image_import", image.id, said
    ).id


def _check_status(image: Image, method: str) -> None:
    """Raises Conflict."""
    if method == "copy-image" and image.status != "active":
        raise Conflict("Only images with status active can be targeted for copying")
    if method != "copy-image" and image.status == "active":
        raise Conflict("Image with status active cannot be target for import")
    if method == "web-download" and image.status != "queued":
        raise Conflict(f"Image needs to be in 'queued' state to use '{method}' method")
    if method == "glance-direct" and image.status != "uploading":
        raise Conflict("Image needs to be staged before 'glance-direct' method can be used")
    for name in ("container_format", "disk_format"):
        if getattr(image, name) is None:
            raise Conflict(f"'{name}' needs to be set before import")


def _stores(call: Call, session: Session, image: Image, body: dict[str, Any]) -> list[str]:
    """Raises Conflict, BadRequest."""
    known = call.settings.places
    wanted = list(known) if body.get("all_stores") else list(dict.fromkeys(body.get("stores", ())))
    wanted = wanted or [
        call.request.headers.get("X-Image-Meta-Store", call.settings.default_store.name)
    ]
    for name in wanted:
        if name not in known:
            raise Conflict(f"Unknown scheme '{name}' found in URI")
    if image.status == "uploading":
        if session.get(Staged, image.id) is None:
            raise Conflict("Image needs to be staged before 'glance-direct' method can be used")
        return wanted
    if body["method"]["name"] != "copy-image":
        return wanted
    have = set(session.scalars(select(ImageCopy.store).where(ImageCopy.image_id == image.id)))
    if body.get("all_stores"):
        return [name for name in wanted if name not in have]
    for name in wanted:
        if name in have:
            raise BadRequest(f"Image is already present at store '{name}'")
    return wanted


# -- tasks --


def image_tasks(call: Call) -> Answer:
    """GET /v2/images/{image_id}/tasks."""
    with call.read() as session:
        image = call.image(session, "get_image")
        query = select(Task).where(Task.image_id == image.id).order_by(Task.created_us)
        return json_answer({"tasks": [task_view(task) for task in session.scalars(query)]})


def list_tasks(call: Call) -> Answer:
    """GET /v2/tasks."""
    limit = call.limit()
    asked = call.request.query
    call.enforce("tasks_api_access")
    query = select(Task)
    if not call.is_admin:
        query = query.where(Task.owner == call.context.project_id)
    if status := asked.get("status"):
        if status not in _STATUSES:
            raise BadRequest(f"Invalid status value: {status}")
        query = query.where(Task.status == status)
    if kind := asked.get("type"):
        if kind not in ("import", "api_image_import"):
            raise BadRequest(f"Invalid type value: {kind}")
        query = query.where(Task.type == kind)
    with call.read() as session:
        if at := asked.get("marker"):
            marker = session.get(Task, at)
            if marker is None:
                raise BadRequest(f"Task {at} could not be found.")
            query = query.where(
                (Task.created_us < marker.created_us)
                | ((Task.created_us == marker.created_us) & (Task.id < marker.id))
            )
        query = query.order_by(Task.created_us.desc(), Task.id.desc()).limit(limit)
        tasks = [task_view(task, stub=True) for task in session.scalars(query)]
    body = {"tasks": tasks, "first": "/v2/tasks", "schema": "/v2/schemas/tasks"}
    if tasks and len(tasks) == limit:
        body["next"] = f"/v2/tasks?limit={limit}&marker={tasks[-1]['id']}"
    return json_answer(body)


def show_task(call: Call) -> Answer:
    """GET of one."""
    call.enforce("tasks_api_access")
    with call.read() as session:
        task = session.get(Task, call.path["task_id"])
        if task is None or not (call.is_admin or task.owner == call.context.project_id):
            raise NotFound(f"No task found with ID {call.path['task_id']}")
        return json_answer(task_view(task))


def create_task(call: Call) -> Answer:
    """POST /v2/tasks: superseded by imports long ago; what upstream refuses is refused alike."""
    call.enforce("tasks_api_access")
    body = call.request.json()
    for name in ("type", "input"):
        if name not in body:
            raise BadRequest(f"Task '{name}' is required")
    if body["type"] not in ("import", "export", "clone"):
        raise BadRequest(f"Provided type of task {body['type']} is not supported.")
    said = body["input"] if isinstance(body["input"], dict) else {}
    for name in ("import_from", "import_from_format", "image_properties"):
        if name not in said:
            raise BadRequest(f"Input does not contain '{name}' field")
    if not passes(said["import_from"], call.settings):
        raise BadRequest(f"Import URI does not pass filtering: {said['import_from']}")
    raise Absent("Tasks are made by imports only: POST /v2/images/{image_id}/import.")


def delete_task(call: Call) -> Answer:
    """DELETE: never."""
    call.enforce("tasks_api_access")
    raise MethodNotAllowed(
        "This operation is currently not permitted on Glance Tasks. They are auto deleted after"
        " reaching the time based on their expires_at property.",
        {"Allow": "GET"},
    )


ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("PUT", "/v2/images/{image_id}/stage", stage),
    ("POST", "/v2/images/{image_id}/import", import_image),
    ("GET", "/v2/images/{image_id}/tasks", image_tasks),
    ("GET", "/v2/tasks", list_tasks),
    ("POST", "/v2/tasks", create_task),
    ("GET", "/v2/tasks/{task_id}", show_task),
    ("DELETE", "/v2/tasks/{task_id}", delete_task),
]
