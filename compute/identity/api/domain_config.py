"""/v3/domains/{domain_id}/config: kept and shown, for tools that manage it. Nothing here follows it.

Upstream reads LDAP servers from it; this server has users in its database only.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.identity.call import Call
from compute.identity.errors import not_found
from compute.identity.models.projects import DomainSetting, Project
from compute.server.errors import Forbidden, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer

_LDAP: dict[str, Any] = {"url": "ldap://localhost", "user": None, "suffix": "cn=example,cn=com"}
_LDAP |= {"password": None, "user_tree_dn": None, "group_tree_dn": None, "query_scope": "one"}
SECRET = ("password",)
"""Options that are taken and never shown."""


def _defaults(call: Call) -> dict[str, dict[str, Any]]:
    settings = call.identity.settings
    return {
        "identity": {"driver": "sql", "list_limit": settings.list_max},
        "ldap": _LDAP,
        "security_compliance": {
            "password_regex": settings.password_regex or None,
            "password_regex_description": settings.password_regex_said or None,
        },
    }


def _domain(call: Call, session: Session) -> str:
    row = session.get(Project, call.path["domain_id"])
    if row is None or not row.is_domain:
        raise not_found("domain", call.path["domain_id"])
    return row.id


def _config(session: Session, domain_id: str) -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = {}
    query = select(DomainSetting).where(DomainSetting.domain_id == domain_id)
    for row in session.scalars(query.order_by(DomainSetting.group, DomainSetting.option)):
        config.setdefault(row.group, {})[row.option] = row.value["value"]
    return config


def _shown(config: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {g: {o: v for o, v in options.items() if o not in SECRET} for g, options in config.items()}


def _pick(call: Call, config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The part that the path names. Raises NotFound."""
    group, option = call.path.get("group"), call.path.get("option")
    if group is None:
        if not config:
            raise NotFound(
                f"Could not find domain configuration for domain: {call.path.get('domain_id')}."
            )
        return config
    if group not in config:
        raise NotFound(f"Could not find group {group} in domain configuration.")
    if option is None:
        return {group: config[group]}
    if option not in config[group]:
        raise NotFound(f"Could not find option {option} in group {group} in domain configuration.")
    return {option: config[group][option]}


def _check(call: Call, config: Any, *, known_only: bool) -> None:
    """Raises Forbidden for what can't be configured."""
    known = _defaults(call)
    if not isinstance(config, dict) or not config:
        raise Forbidden("Invalid domain specific configuration: no options specified.")
    for group, options in config.items():
        if known_only and group not in ("identity", "ldap"):
            raise Forbidden(f"Invalid domain specific configuration: group {group} is not supported.")
        if not isinstance(options, dict) or not options:
            raise Forbidden("Invalid domain specific configuration: groups need options.")
        for option in options:
            if option not in known.get(group, {}):
                raise Forbidden(
                    f"Invalid domain specific configuration: option {option} in group {group} is not"
                    " supported."
                )


def _store(session: Session, domain_id: str, config: dict[str, dict[str, Any]]) -> None:
    for group, options in config.items():
        for option, value in options.items():
            session.merge(
                DomainSetting(domain_id=domain_id, group=group, option=option, value={"value": value})
            )


def put(call: Call) -> Answer:
    """PUT: in place of all that was there. 201 for the first."""
    call.enforce("create_domain_config")
    config = call.body("config")
    _check(call, config, known_only=True)
    with call.write() as session:
        domain_id = _domain(call, session)
        rows = session.scalars(select(DomainSetting).where(DomainSetting.domain_id == domain_id)).all()
        for row in rows:
            session.delete(row)
        session.flush()
        _store(session, domain_id, config)
        session.flush()
        body = _shown(_config(session, domain_id))
    return json_answer({"config": body}, 200 if rows else 201)


def patch(call: Call) -> Answer:
    """PATCH of all, a group or an option that is there."""
    call.enforce("update_domain_config")
    config = call.body("config")
    group, option = call.path.get("group"), call.path.get("option")
    if group is not None and option is not None:
        if set(config) != {option}:
            raise Forbidden(
                f"Invalid domain specific configuration: the body must have {option} alone."
            )
        config = {group: config}
    elif group is not None and set(config) != {group}:
        raise Forbidden(f"Invalid domain specific configuration: the body must have {group} alone.")
    _check(call, config, known_only=True)
    with call.write() as session:
        domain_id = _domain(call, session)
        _pick(call, _config(session, domain_id))
        _store(session, domain_id, config)
        session.flush()
        return json_answer({"config": _shown(_config(session, domain_id))})


def delete(call: Call) -> Answer:
    """DELETE of all, a group or an option that is there."""
    call.enforce("delete_domain_config")
    group, option = call.path.get("group"), call.path.get("option")
    with call.write() as session:
        domain_id = _domain(call, session)
        if group is not None:
            _pick(call, _config(session, domain_id))
        for row in session.scalars(select(DomainSetting).where(DomainSetting.domain_id == domain_id)):
            if group in (None, row.group) and option in (None, row.option):
                session.delete(row)
    return NO_CONTENT


def show(call: Call) -> Answer:
    """GET of all, a group or an option. The password rules are everyone's to know."""
    if call.path.get("group") == "security_compliance":
        call.enforce("get_security_compliance_domain_config")
        with call.read() as session:
            _domain(call, session)
        return json_answer({"config": _pick(call, _defaults(call))})
    call.enforce("get_domain_config")
    with call.read() as session:
        config = _shown(_config(session, _domain(call, session)))
    return json_answer({"config": _pick(call, config)})


def show_defaults(call: Call) -> Answer:
    """GET of the defaults."""
    call.enforce("get_domain_config_default")
    return json_answer({"config": _pick(call, _shown(_defaults(call)))})


_ONE = "/v3/domains/{domain_id}/config"
_PARTS = ("", "/{group}", "/{group}/{option}")
ROUTES = [
    ("PUT", _ONE, put),
    *(("GET", f"{_ONE}{part}", show) for part in _PARTS),
    *(("PATCH", f"{_ONE}{part}", patch) for part in _PARTS),
    *(("DELETE", f"{_ONE}{part}", delete) for part in _PARTS),
    *(("GET", f"/v3/domains/config{part}/default", show_defaults) for part in _PARTS),
]
