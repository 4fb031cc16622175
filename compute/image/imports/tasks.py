"""Tasks as rows: begun in the transaction that takes the request, ended by who did them."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.access import Context
from compute.image.call import ROOM, Images
from compute.image.metadefs.call import instant
from compute.image.models import Image, ImageCopy, Task
from compute.image.uploads import discard_copy, drop_staged

RUNNING: Final = ("pending", "processing")


def begin_task(
    images: Images,
    session: Session,
    context: Context,
    request_id: str,
    kind: str,
    image_id: str,
    said: dict[str, Any],
) -> Task:
    """Within a transaction."""
    now_us = images.site.now_us()
    task = Task(
        id=images.site.new_uuid(),
        type=kind,
        status="pending",
        owner=context.project_id,
        image_id=image_id,
        user_id=context.user_id,
        request_id=request_id,
        host=images.site.host,
        input=said,
        result=None,
        message="",
        created_us=now_us,
        updated_us=now_us,
        expires_us=None,
    )
    session.add(task)
    session.flush()
    return task


def end_task(images: Images, session: Session, task_id: str, status: str, message: str) -> None:
    """Within a transaction."""
    task = session.get(Task, task_id)
    if task is None or task.status not in RUNNING:
        return
    now_us = images.site.now_us()
    task.status, task.message, task.updated_us = status, message, now_us
    task.result = {"image_id": task.image_id} if status == "success" else None
    task.expires_us = now_us + images.settings.task_keep_s * 1_000_000


def fail_import(images: Images, session: Session, task: Task, message: str) -> None:
    """Within a transaction: the image is as it was before, but for the stores that failed."""
    end_task(images, session, task.id, "failure", message)
    image = session.get(Image, task.image_id)
    if image is None:
        return
    image.failed_stores = image.importing_to or image.failed_stores
    image.importing_to = ""
    image.updated_us = images.site.now_us()
    if image.status != "importing":
        return
    for copy in session.scalars(select(ImageCopy).where(ImageCopy.image_id == image.id)):
        discard_copy(images, session, copy)
    drop_staged(images, session, image.id)
    image.status = "queued"
    for name in ("size_bytes", "virtual_size_bytes", "checksum", "os_hash_algo", "os_hash_value"):
        setattr(image, name, None)


def give_up(images: Images) -> None:
    """What this host was importing when it stopped has failed: before it serves, on a thread."""
    with images.site.database.write(ROOM, changes=False) as session:
        query = select(Task).where(Task.host == images.site.host, Task.status.in_(RUNNING))
        for task in session.scalars(query):
            fail_import(images, session, task, "The service was stopped during the import.")


def task_view(task: Task, *, stub: bool = False) -> dict[str, Any]:
    """A task; in lists without what it is about."""
    shown: dict[str, Any] = {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "owner": task.owner,
        "created_at": instant(task.created_us),
        "updated_at": instant(task.updated_us),
        "self": f"/v2/tasks/{task.id}",
        "schema": "/v2/schemas/task",
    }
    if task.expires_us is not None:
        shown["expires_at"] = instant(task.expires_us)
    if stub:
        return shown
    more = {"input": task.input, "result": task.result, "message": task.message}
    whose = {"image_id": task.image_id, "request_id": task.request_id, "user_id": task.user_id}
    return {**shown, **more, **whose}
