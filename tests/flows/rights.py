"""Who may do what, as data: one row per operation of the published interface.

`gate`: the roles that the operation is for; everyone else gets 403, nobody 401.
`reach`: those of them who get at the object of the story, which belongs to `owner`; the others
get the same 404 as for an object that does not exist. For a list: those who find it in there.
`why`: the reason.
"""

from dataclasses import dataclass

from gateway.table import SERVICES

from .cast import ROLES

EVERYONE = frozenset(ROLES)
SIGNED_IN = EVERYONE - {"nobody"}
APPLICANTS = frozenset({"owner", "other", "enterprise"})
OWNER = frozenset({"owner"})
NONE: frozenset[str] = frozenset()
STAFF = frozenset(
    role for role, claims in ROLES.items() if claims is not None and claims["kind"] == "staff"
)


def having(role: str) -> frozenset[str]:
    return frozenset(name for name in STAFF if role in (ROLES[name] or {})["roles"])


PARTIES = APPLICANTS | STAFF
COUNTERS, REVIEWERS = having("counter"), having("reviewer")
SUPERVISORS, OPERATORS = having("supervisor"), having("operator")
DEMO_DESK = frozenset({"counter", "reviewer", "supervisor", "operator"})
CITY = frozenset({"city counter", "city reviewer", "city supervisor"})
OF_ITEM = frozenset({"item counter", "item reviewer", "item supervisor"})
LEAD_DESK = DEMO_DESK | CITY | OF_ITEM
HELPERS = frozenset({"helping counter", "helping reviewer"})
PARTNERS = frozenset({"partner", "foreign partner"})


@dataclass(frozen=True)
class Row:
    gate: frozenset[str]
    reach: frozenset[str]
    why: str
    is_list: bool = False
    denied: int = 404
    """What those who pass the gate and do not reach the object get."""


def _public(why: str) -> Row:
    return Row(EVERYONE, EVERYONE, why)


def _owners(why: str) -> Row:
    return Row(APPLICANTS, OWNER, why)


def _writers(why: str) -> Row:
    """The catalogue is public: that an item exists is no secret, so the refusal says 403."""
    allowed = frozenset({"operator", "far supervisor"}) | (SUPERVISORS & LEAD_DESK)
    return Row(STAFF, allowed, why, denied=403)


def _fresh(why: str) -> Row:
    """A token alone does not do: its sign-in must be one of the last ten minutes."""
    return Row(APPLICANTS | STAFF, NONE, f"{why}, after a fresh sign-in", denied=401)


OWN_PROOF = "the client proves itself by its secret or the code, not by a token"
READ_CASE = OWNER | LEAD_DESK | HELPERS

TABLE: dict[str, Row] = {
    # identity
    "public_keys": _public("public keys are public"),
    "discovery": _public("how to sign in must be known before"),
    "authorize": _public("the way in; the login page asks who it is"),
    "authorize_by_form": _public("as authorize"),
    "token": _public(OWN_PROOF),
    "revoke": _public(OWN_PROOF),
    "introspect": _public(OWN_PROOF),
    "userinfo": Row(SIGNED_IN, SIGNED_IN, "tells a caller of himself alone"),
    "userinfo_by_post": Row(SIGNED_IN, SIGNED_IN, "as userinfo"),
    "register_person": _public("whoever registers has no account yet"),
    "register_client": Row(OPERATORS, OPERATORS, "operators vouch for others' applications"),
    "list_clients": Row(OPERATORS, OPERATORS, "as register_client"),
    "switch_client_off": Row(OPERATORS, frozenset(), "the id of none: 404 to operators too"),
    "switch_client_on": Row(OPERATORS, frozenset(), "as switch_client_off"),
    "my_consents": Row(APPLICANTS, APPLICANTS, "one's own consents alone"),
    "withdraw_consent": Row(APPLICANTS, frozenset(), "nobody gave one to this client: 404"),
    "my_profile": Row(APPLICANTS, APPLICANTS, "one's own profile alone"),
    "my_tags": Row(APPLICANTS, APPLICANTS, "as my_profile"),
    "declare_fact": Row(APPLICANTS, NONE, "not a fact that people declare: 404"),
    "withdraw_fact": Row(APPLICANTS, NONE, "nobody declared it: 404"),
    "account_profile": Row(
        frozenset({"service"}), frozenset({"service"}), "services, for a purpose, logged"
    ),
    "list_staff": Row(OPERATORS, OPERATORS, "operators look after who works here"),
    "add_staff": Row(OPERATORS, OPERATORS, "as list_staff"),
    "read_staff": Row(OPERATORS, frozenset(), "a person is no member of staff: 404"),
    "change_staff_rights": Row(OPERATORS, frozenset(), "as read_staff"),
    "switch_staff_off": Row(OPERATORS, frozenset(), "as read_staff"),
    "switch_staff_on": Row(OPERATORS, frozenset(), "as read_staff"),
    "me": Row(
        SIGNED_IN,
        OWNER | DEMO_DESK | {"other", "helping reviewer"},
        "one's own account; tokens of machines and of accounts that are not there have none",
    ),
    "my_sign_in_ways": Row(
        APPLICANTS | STAFF,
        OWNER | DEMO_DESK | {"other", "helping reviewer"},
        "one's own; machines sign in otherwise, some of these accounts are not there",
    ),
    "change_password": _fresh("one's own password"),
    "change_phone": _fresh("one's own number"),
    "bind_wechat": _fresh("into one's own account"),
    "unbind_wechat": _fresh("from one's own account"),
    "passkey_options": _fresh("for one's own account"),
    "add_passkey": _fresh("to one's own account"),
    "remove_passkey": _fresh("from one's own account"),
    "sign_in_by_wechat": _public("WeChat's code says who it is"),
    "ask_closing": Row(APPLICANTS, NONE, "one's own account, after a fresh sign-in", denied=401),
    "read_closing": Row(APPLICANTS, NONE, "one's own; nobody asked for it: 404"),
    "withdraw_closing": Row(APPLICANTS, NONE, "one's own; nobody asked for it: 404"),
    "ask_fact_correction": Row(APPLICANTS, NONE, "of a fact of one's own; this is nobody's: 404"),
    "my_fact_corrections": Row(APPLICANTS, NONE, "one's own; nobody asked", is_list=True),
    "withdraw_fact_correction": Row(APPLICANTS, NONE, "one's own; nobody asked: 404"),
    "list_fact_corrections": Row(REVIEWERS, NONE, "the fact's department; none", is_list=True),
    "get_fact_correction": Row(REVIEWERS, NONE, "the fact's department; there is none: 404"),
    "accept_fact_correction": Row(REVIEWERS, NONE, "as get_fact_correction"),
    "refuse_fact_correction": Row(REVIEWERS, NONE, "as get_fact_correction"),
    "ask_export": Row(APPLICANTS, NONE, "a copy of one's own, after a fresh sign-in", denied=401),
    "list_exports": Row(APPLICANTS, NONE, "one's own; nobody asked for one", is_list=True),
    "read_export": Row(APPLICANTS, NONE, "one's own; nobody asked for one: 404"),
    "download_export": Row(APPLICANTS, NONE, "one's own, after a fresh sign-in", denied=401),
    "my_access_log": Row(APPLICANTS, OWNER, "who read one's own data", is_list=True),
    "claim_firm": Row(
        frozenset({"owner", "other"}), frozenset({"owner", "other"}), "the register decides"
    ),
    "appoint_agent": Row(APPLICANTS, NONE, "those who manage the firm; this is none"),
    "list_agents": Row(APPLICANTS, NONE, "those who manage the firm; this is none"),
    "confirm_appointment": Row(frozenset({"owner", "other"}), NONE, "the person who was asked"),
    "refuse_appointment": Row(frozenset({"owner", "other"}), NONE, "the person who was asked"),
    "remove_appointment": Row(APPLICANTS, NONE, "the firm's managers and the agent himself"),
    "my_principals": Row(SIGNED_IN, SIGNED_IN, "for whom one may act oneself"),
    "ask_mandate": Row(PARTIES, PARTIES, "in one's own name; whom it binds confirms"),
    "list_mandates": Row(PARTIES, OWNER, "one's own, on either side", is_list=True),
    "get_mandate": Row(PARTIES, OWNER, "its two sides"),
    "confirm_mandate": Row(PARTIES, OWNER, "the side that did not ask"),
    "refuse_mandate": Row(PARTIES, OWNER, "the side that did not ask"),
    "revoke_mandate": Row(PARTIES, OWNER, "its two sides"),
    "check_in_person": Row(COUNTERS, COUNTERS, "whoever has the person with his card before him"),
    "suspend_account": Row(OPERATORS, OPERATORS, "operators run the platform's accounts"),
    "restore_account": Row(OPERATORS, OPERATORS, "as suspend_account"),
    "list_departments": _public("reference data"),
    # logistics
    "list_addresses": Row(APPLICANTS, OWNER, "one's own address book", is_list=True),
    "add_address": Row(APPLICANTS, APPLICANTS, "into one's own address book"),
    "remove_address": _owners("only from one's own address book"),
    "list_shipments": Row(
        SIGNED_IN, OWNER | LEAD_DESK, "the receiver's and the sender's", is_list=True
    ),
    "get_shipment": Row(SIGNED_IN, OWNER | LEAD_DESK, "the receiver and the sending department"),
    # catalogue
    "read_calendar": _public("reference data"),
    "list_items": _public("the catalogue is public"),
    "read_item": _public("the catalogue is public"),
    "list_item_versions": _public("the catalogue is public"),
    "read_item_version": _public("the catalogue is public"),
    "list_packages": _public("the catalogue is public"),
    "list_regions": _public("reference data"),
    "create_item": _writers("supervisors and operators of the item's department"),
    "open_item_draft": _writers("as create_item"),
    "read_item_draft": _writers("as create_item"),
    "edit_item_draft": _writers("as create_item"),
    "submit_item_draft": _writers("as create_item"),
    "return_item_draft": _writers("as create_item"),
    "discard_item_draft": _writers("as create_item"),
    "publish_item_draft": _writers("as create_item; and not whoever wrote it"),
    "suspend_item": _writers("as create_item"),
    "resume_item": _writers("as create_item"),
    "withdraw_item": _writers("as create_item"),
    "list_search_misses": Row(OPERATORS, OPERATORS, "operators look after the search"),
    "list_synonyms": Row(OPERATORS, OPERATORS, "operators look after the search"),
    "put_synonym": Row(OPERATORS, OPERATORS, "operators look after the search"),
    "delete_synonym": Row(OPERATORS, OPERATORS, "operators look after the search"),
    # cases
    "list_cases": Row(
        SIGNED_IN, READ_CASE, "one's own; staff those that their department handles", is_list=True
    ),
    "open_case": Row(APPLICANTS, APPLICANTS, "whoever the item is for opens his own"),
    "get_case": Row(SIGNED_IN, READ_CASE, "applicant, leading and helping departments, the city"),
    "save_case": _owners("only the applicant fills in"),
    "upload_material": _owners("only the applicant hands in"),
    "download_material": Row(SIGNED_IN, READ_CASE, "whoever may read the case"),
    "submit_case": _owners("only the applicant hands in"),
    "answer_correction": _owners("only the applicant mends"),
    "withdraw_case": _owners("only the applicant takes it back"),
    "get_timeline": Row(SIGNED_IN, READ_CASE, "whoever may read the case"),
    "get_clock": Row(SIGNED_IN, READ_CASE, "whoever may read the case"),
    "accept_case": Row(COUNTERS, COUNTERS & LEAD_DESK, "the leading department's counter there"),
    "refuse_case": Row(COUNTERS, COUNTERS & LEAD_DESK, "as accept_case"),
    "hand_over_licence": Row(COUNTERS, COUNTERS & LEAD_DESK, "as accept_case"),
    "decide_case": Row(
        REVIEWERS,
        REVIEWERS & LEAD_DESK,
        "reviewers of the leading department for this item, there or city-wide",
    ),
    "list_tasks": Row(
        REVIEWERS,
        REVIEWERS & LEAD_DESK | {"helping reviewer"},
        "the desk of the caller's own department, region and items; a helper has a task of his own",
        is_list=True,
    ),
    "claim_task": Row(REVIEWERS, REVIEWERS & LEAD_DESK, "the desk that the task lies on"),
    "decide_task": Row(REVIEWERS, REVIEWERS & LEAD_DESK, "the desk that the task lies on"),
    "request_correction": Row(REVIEWERS, REVIEWERS & LEAD_DESK, "the desk that the task lies on"),
    # licences
    "list_licence_types": _public("reference data"),
    "get_licence_keys": _public("public keys are public"),
    "get_status_list": _public("verifiers read it; it names nobody"),
    "verify_presentation": _public("whoever is shown a licence may check it"),
    "list_my_licences": Row(APPLICANTS, OWNER, "one's own", is_list=True),
    "list_my_licences_in_force": Row(APPLICANTS, OWNER, "one's own", is_list=True),
    "get_licence": _owners("only its holder"),
    "get_licence_credential": _owners("only its holder"),
    "present_licence": _owners("only its holder"),
    "change_licence_status": Row(
        REVIEWERS,
        REVIEWERS & LEAD_DESK,
        "reviewers of the department that issued, there or city-wide, for the licence's item",
    ),
    "list_licence_orders": Row(OPERATORS, OPERATORS, "operators look after what is stuck"),
    "retry_licence_order": Row(OPERATORS, OPERATORS, "operators look after what is stuck"),
    # payments
    "list_payments": Row(
        APPLICANTS | STAFF,
        OWNER | LEAD_DESK,
        "the payer's own; staff those of their department, region and items",
        is_list=True,
    ),
    "get_payment": Row(APPLICANTS | STAFF, OWNER | LEAD_DESK, "as list_payments"),
    "start_attempt": _owners("only the payer pays"),
    "list_refunds": Row(OPERATORS, OPERATORS, "operators look after refunds that do not move"),
    "list_reconciliations": Row(OPERATORS, OPERATORS, "operators see to it that the books agree"),
    "start_reconciliation": Row(OPERATORS, OPERATORS, "as list_reconciliations"),
    "get_reconciliation": Row(OPERATORS, NONE, "operators; there is none of this id: 404"),
    "list_differences": Row(OPERATORS, NONE, "as get_reconciliation"),
    "settle_difference": Row(OPERATORS, NONE, "operators; there is no such difference: 404"),
    "reopen_difference": Row(OPERATORS, NONE, "as settle_difference"),
    "get_ledger_balance": Row(OPERATORS, OPERATORS, "sums only, for those who run the platform"),
    # ratings
    "get_rating_criteria": _public("reference data"),
    "list_my_ratings": Row(APPLICANTS, OWNER, "one's own", is_list=True),
    "get_rating": _owners("only who gave it"),
    "submit_rating": _owners("only who is asked for it"),
    "list_received_ratings": Row(
        STAFF, LEAD_DESK, "the department that was rated, in its district", is_list=True
    ),
    "list_rating_policies": Row(OPERATORS, OPERATORS, "operators set time limits"),
    "put_rating_policy": Row(OPERATORS, OPERATORS, "operators set time limits"),
    # exchange
    "read_events": Row(
        PARTNERS | SUPERVISORS | OPERATORS,
        frozenset({"partner", "supervisor", "city supervisor"}) | OPERATORS,
        "partners their department's own, supervisors with its region; operators see all",
        is_list=True,
    ),
    "event_schema": _public("reference data"),
    "my_matters": Row(APPLICANTS, OWNER, "one's own", is_list=True),
    "list_partners": Row(OPERATORS, OPERATORS, "operators keep the ledger of systems"),
    "register_partner": Row(OPERATORS, OPERATORS, "operators keep the ledger of systems"),
    "get_asyncapi": _public("partners read what they may hear before they ask for it"),
    "get_portal_home": Row(APPLICANTS, OWNER, "what waits for oneself", is_list=True),
    "get_platform_state": Row(OPERATORS, OPERATORS, "operators see how everything does"),
    "send_phone_code": _public("whoever registers or lost a password has no token yet"),
    "push_request": _public(OWN_PROOF),
    "device_authorization": _public(OWN_PROOF),
    # between services, asked directly: the gateway leads to none of these
    "account_holder": Row(
        frozenset({"service"}), frozenset({"service"}), "services that issue or deliver"
    ),
    "licence_data": Row(
        frozenset({"service"}), frozenset({"service"}), "licence-svc, for approved cases"
    ),
    **{
        f"list_{service}_open_matters": Row(
            frozenset({"service"}), frozenset({"service"}), "identity-svc, before it closes"
        )
        for service in ("case", "payment", "logistics")
    },
    **{
        f"export_{service}_data": Row(
            frozenset({"service"}), frozenset({"service"}), "identity-svc, for the person's export"
        )
        for service in ("case", "licence", "payment", "logistics", "helpdesk")
    },
    "sf_push": Row(EVERYONE, NONE, "the carrier proves itself by the secret in the path"),
    "wechat_paid": Row(EVERYONE, NONE, "the channel proves itself by its signature", denied=401),
    "wechat_refunded": Row(EVERYONE, NONE, "as wechat_paid", denied=401),
}

for _service in SERVICES:
    TABLE |= {
        f"get_{_service}_state": Row(OPERATORS, OPERATORS, "operators see how a service does"),
        f"list_{_service}_dead_letters": Row(OPERATORS, OPERATORS, "operators mend what is stuck"),
        f"get_{_service}_dead_letter": Row(OPERATORS, NONE, "operators; there is no such letter"),
        f"replay_{_service}_dead_letter": Row(OPERATORS, NONE, "operators; there is none"),
        f"list_{_service}_staff_actions": Row(OPERATORS, OPERATORS, "operators read the trail"),
    }
