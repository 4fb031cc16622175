"""The default rules of identity, by upstream's names: which operators' files override."""

from typing import Final

from compute.policy.enforcer import ALL_SCOPES, Rule

_ADMIN: Final = "rule:admin_required"
_READER: Final = "rule:admin_required or (role:reader and system_scope:all)"
_SYSTEM_OR_PROJECT: Final = ("system", "project")

_BASE: Final = (
    Rule("admin_required", "role:admin or is_admin:1"),
    Rule("service_role", "role:service"),
    Rule("service_or_admin", "rule:admin_required or rule:service_role"),
    Rule("owner", "user_id:%(user_id)s"),
    Rule("admin_or_owner", "rule:admin_required or rule:owner"),
    Rule("token_subject", "user_id:%(target.token.user_id)s"),
    Rule("admin_or_token_subject", "rule:admin_required or rule:token_subject"),
    Rule("service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject"),
    Rule(
        "domain_managed_target_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s"
        " or 'reader':%(target.role.name)s",
    ),
)


def _admins_change(*nouns: str) -> list[Rule]:
    """Resources that administrators make and readers of the system see."""
    rules = []
    for noun in nouns:
        plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
        rules += [
            Rule(f"identity:{verb}_{noun}", _ADMIN, _SYSTEM_OR_PROJECT)
            for verb in ("create", "update", "delete")
        ]
        rules += [
            Rule(f"identity:{name}", _READER, _SYSTEM_OR_PROJECT)
            for name in (f"get_{noun}", f"list_{plural}")
        ]
    return rules


def _rules(check: str, scopes: tuple[str, ...], *names: str) -> list[Rule]:
    return [Rule(f"identity:{name}", check, scopes) for name in names]


def _in_domain(verbs: str, noun: str, domain: str, read: str) -> list[Rule]:
    """Users and groups: managers of their domain change them, its readers see them."""
    rules = [
        Rule(
            f"identity:{verb}_{noun}",
            f"(rule:admin_required) or (role:manager and {domain}:%(target.{noun}.domain_id)s)",
            ALL_SCOPES,
        )
        for verb in verbs.split()
    ]
    return [*rules, Rule(f"identity:get_{noun}", read, ALL_SCOPES)]


_SEES: Final = "(rule:admin_required) or (role:reader and system_scope:all)"
_GROUP_READER: Final = f"{_SEES} or (role:reader and domain_id:%(target.group.domain_id)s)"
_PROJECT_OWNER: Final = (
    "(rule:admin_required) or (role:manager and domain_id:%(target.project.domain_id)s"
    " and not None:%(target.project.domain_id)s)"
)
_PROJECT_READER: Final = (
    f"{_SEES} or (role:reader and domain_id:%(target.project.domain_id)s"
    " and not None:%(target.project.domain_id)s) or project_id:%(target.project.id)s"
)
_CREDENTIAL_OWNER: Final = "user_id:%(target.credential.user_id)s"
_DOMAIN_READER: Final = (
    "(role:reader and domain_id:%(target.domain_id)s and not None:%(target.domain_id)s)"
)
_BOTH_DOMAINS: Final = (
    "(role:{role} and domain_id:%(target.user.domain_id)s"
    " and domain_id:%(target.project.domain_id)s) or "
    "(role:{role} and domain_id:%(target.user.domain_id)s and domain_id:%(target.domain.id)s) or "
    "(role:{role} and domain_id:%(target.group.domain_id)s"
    " and domain_id:%(target.project.domain_id)s) or "
    "(role:{role} and domain_id:%(target.group.domain_id)s and domain_id:%(target.domain.id)s)"
)
_ROLE_OF_DOMAIN: Final = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_GRANTER: Final = (
    f"(rule:admin_required) or ({_BOTH_DOMAINS.format(role='admin')}) and {_ROLE_OF_DOMAIN} or "
    f"({_BOTH_DOMAINS.format(role='manager')}) and rule:domain_managed_target_role"
)
_GRANT_READER: Final = f"(role:reader and system_scope:all) or {_BOTH_DOMAINS.format(role='reader')}"
_TRUST_READER: Final = (
    "(rule:admin_required) or (role:reader and system_scope:all or"
    " user_id:%(target.trust.trustor_user_id)s or user_id:%(target.trust.trustee_user_id)s)"
)

RULES: Final = (
    *_BASE,
    *_admins_change("consumer", "endpoint", "endpoint_group", "policy", "service", "domain_role"),
    *_admins_change("identity_provider", "mapping", "protocol", "service_provider"),
    # what belongs to a user
    *_rules(
        "(role:reader and system_scope:all) or user_id:%(target.user.id)s",
        _SYSTEM_OR_PROJECT,
        "get_access_rule",
        "list_access_rules",
    ),
    *_rules(
        "(role:admin and system_scope:all) or user_id:%(target.user.id)s",
        _SYSTEM_OR_PROJECT,
        "delete_access_rule",
    ),
    *_rules(
        _ADMIN,
        ("project",),
        "authorize_request_token",
        "get_access_token",
        "get_access_token_role",
        "list_access_tokens",
        "list_access_token_roles",
        "delete_access_token",
    ),
    *_rules(
        f"{_SEES} or rule:owner",
        _SYSTEM_OR_PROJECT,
        "get_application_credential",
        "list_application_credentials",
        "ec2_list_credentials",
    ),
    *_rules("user_id:%(user_id)s", ("project",), "create_application_credential"),
    *_rules("rule:admin_or_owner", _SYSTEM_OR_PROJECT, "delete_application_credential"),
    *_rules(f"{_SEES} or {_CREDENTIAL_OWNER}", ALL_SCOPES, "get_credential", "list_credentials"),
    *_rules(
        f"(rule:admin_required) or {_CREDENTIAL_OWNER}",
        ALL_SCOPES,
        "create_credential",
        "update_credential",
        "delete_credential",
    ),
    *_rules(f"{_SEES} or {_CREDENTIAL_OWNER}", _SYSTEM_OR_PROJECT, "ec2_get_credential"),
    *_rules(
        f"(rule:admin_required) or (role:member and {_CREDENTIAL_OWNER})",
        _SYSTEM_OR_PROJECT,
        "ec2_create_credential",
        "ec2_delete_credential",
    ),
    # domains and their configuration
    *_rules(
        f"{_READER} or token.domain.id:%(target.domain.id)s"
        " or token.project.domain.id:%(target.domain.id)s",
        ALL_SCOPES,
        "get_domain",
    ),
    *_rules(
        f"{_READER} or (role:reader and domain_id:%(target.domain.id)s)", ALL_SCOPES, "list_domains"
    ),
    *_rules(
        _ADMIN,
        _SYSTEM_OR_PROJECT,
        "create_domain",
        "update_domain",
        "delete_domain",
        "create_domain_config",
        "update_domain_config",
        "delete_domain_config",
    ),
    *_rules(_READER, _SYSTEM_OR_PROJECT, "get_domain_config", "get_domain_config_default"),
    # projects
    *_rules(
        _PROJECT_OWNER,
        ALL_SCOPES,
        "create_project",
        "update_project",
        "delete_project",
        "update_project_tags",
        "create_project_tag",
        "delete_project_tags",
        "delete_project_tag",
    ),
    *_rules(_PROJECT_READER, ALL_SCOPES, "get_project", "list_project_tags", "get_project_tag"),
    *_rules(
        f"{_SEES} or (role:reader and domain_id:%(target.domain_id)s)",
        ALL_SCOPES,
        "list_projects",
        "list_users",
    ),
    *_rules(
        f"{_SEES} or (role:reader and domain_id:%(target.user.domain_id)s)"
        " or user_id:%(target.user.id)s",
        ALL_SCOPES,
        "list_user_projects",
    ),
    # users and groups
    *_in_domain(
        "create update delete",
        "user",
        "token.domain.id",
        f"{_SEES} or (role:reader and token.domain.id:%(target.user.domain_id)s)"
        " or user_id:%(target.user.id)s",
    ),
    *_in_domain("create update delete", "group", "domain_id", _GROUP_READER),
    *_rules(_GROUP_READER, ALL_SCOPES, "list_groups", "list_users_in_group"),
    *_rules(
        f"{_SEES} or (role:reader and domain_id:%(target.user.domain_id)s) or user_id:%(user_id)s",
        ALL_SCOPES,
        "list_groups_for_user",
    ),
    *_rules(
        "(rule:admin_required) or (role:manager and domain_id:%(target.group.domain_id)s"
        " and domain_id:%(target.user.domain_id)s)",
        ALL_SCOPES,
        "add_user_to_group",
        "remove_user_from_group",
    ),
    *_rules(
        f"{_SEES} or (role:reader and domain_id:%(target.group.domain_id)s"
        " and domain_id:%(target.user.domain_id)s)",
        ALL_SCOPES,
        "check_user_in_group",
    ),
    # roles and who has them
    *_rules(
        f"({_READER}) or (role:manager and rule:domain_managed_target_role)", ALL_SCOPES, "get_role"
    ),
    *_rules(f"({_READER}) or (role:manager and not domain_id:None)", ALL_SCOPES, "list_roles"),
    *_rules(_ADMIN, _SYSTEM_OR_PROJECT, "create_role", "update_role", "delete_role"),
    *_rules(_ADMIN, _SYSTEM_OR_PROJECT, "create_implied_role", "delete_implied_role"),
    *_rules(
        _READER,
        _SYSTEM_OR_PROJECT,
        "get_implied_role",
        "list_implied_roles",
        "list_role_inference_rules",
        "check_implied_role",
    ),
    *_rules(_GRANTER, ALL_SCOPES, "create_grant", "revoke_grant"),
    *_rules(f"(rule:admin_required) or ({_GRANT_READER})", ALL_SCOPES, "list_grants"),
    *_rules(
        f"(rule:admin_required) or (role:reader and system_scope:all) or"
        f" ({_BOTH_DOMAINS.format(role='reader')}) and {_ROLE_OF_DOMAIN}",
        ALL_SCOPES,
        "check_grant",
    ),
    *(
        Rule(f"identity:{verb}_system_{noun}_for_{who}", check, _SYSTEM_OR_PROJECT)
        for who in ("user", "group")
        for verb, noun, check in (
            ("list", "grants", _READER),
            ("check", "grant", _READER),
            ("create", "grant", _ADMIN),
            ("revoke", "grant", _ADMIN),
        )
    ),
    *_rules(
        f"{_SEES} or {_DOMAIN_READER}",
        ALL_SCOPES,
        "list_role_assignments",
        "list_role_assignments_for_tree",
    ),
    # the catalog
    *_rules(_ADMIN, _SYSTEM_OR_PROJECT, "create_region", "update_region", "delete_region"),
    *_rules(
        _READER,
        _SYSTEM_OR_PROJECT,
        "list_projects_associated_with_endpoint_group",
        "list_endpoints_associated_with_endpoint_group",
        "get_endpoint_group_in_project",
        "list_endpoint_groups_for_project",
        "list_projects_for_endpoint",
        "check_endpoint_in_project",
        "list_endpoints_for_project",
        "get_policy_for_endpoint",
        "list_endpoints_for_policy",
        *(
            f"check_policy_association_for_{what}"
            for what in ("endpoint", "service", "region_and_service")
        ),
    ),
    *_rules(
        _ADMIN,
        _SYSTEM_OR_PROJECT,
        "add_endpoint_group_to_project",
        "remove_endpoint_group_from_project",
        "add_endpoint_to_project",
        "remove_endpoint_from_project",
        *(
            f"{verb}_policy_association_for_{what}"
            for verb in ("create", "delete")
            for what in ("endpoint", "service", "region_and_service")
        ),
    ),
    # limits
    *_rules(
        f"{_READER} or (domain_id:%(target.limit.domain.id)s or"
        " domain_id:%(target.limit.project.domain_id)s) or"
        " (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)",
        ALL_SCOPES,
        "get_limit",
    ),
    *_rules(
        _ADMIN,
        _SYSTEM_OR_PROJECT,
        *(
            f"{verb}_registered_limit{s}"
            for verb, s in (("create", "s"), ("update", ""), ("delete", ""))
        ),
        *(f"{verb}_limit{s}" for verb, s in (("create", "s"), ("update", ""), ("delete", ""))),
    ),
    # what everyone with a token may ask
    *_rules(
        "",
        ALL_SCOPES,
        "get_region",
        "list_regions",
        "get_limit_model",
        "list_limits",
        "get_registered_limit",
        "list_registered_limits",
        "get_security_compliance_domain_config",
    ),
    *_rules(
        "",
        (),
        "get_auth_catalog",
        "get_auth_projects",
        "get_auth_domains",
        "get_auth_system",
        "list_projects_for_user",
        "list_domains_for_user",
    ),
    # tokens
    *_rules("rule:service_or_admin", _SYSTEM_OR_PROJECT, "list_revoke_events", "revocation_list"),
    *_rules("rule:service_or_admin", ALL_SCOPES, "s3tokens_validate", "ec2tokens_validate"),
    *_rules(f"{_READER} or rule:token_subject", ALL_SCOPES, "check_token"),
    *_rules(f"{_READER} or rule:service_role or rule:token_subject", ALL_SCOPES, "validate_token"),
    *_rules("rule:admin_required or rule:token_subject", ALL_SCOPES, "revoke_token"),
    *_rules("rule:admin_or_owner", ALL_SCOPES, "revoke_tokens_for_user"),
    # trusts
    *_rules("user_id:%(target.trust.trustor_user_id)s", ("project",), "create_trust"),
    *_rules(_READER, _SYSTEM_OR_PROJECT, "list_trusts"),
    *(
        Rule(
            f"identity:list_trusts_for_{who}",
            f"{_SEES} or user_id:%(target.trust.{who}_user_id)s",
            _SYSTEM_OR_PROJECT,
        )
        for who in ("trustor", "trustee")
    ),
    *_rules(
        _TRUST_READER, _SYSTEM_OR_PROJECT, "list_roles_for_trust", "get_role_for_trust", "get_trust"
    ),
    *_rules(
        "rule:admin_required or user_id:%(target.trust.trustor_user_id)s",
        _SYSTEM_OR_PROJECT,
        "delete_trust",
    ),
)
