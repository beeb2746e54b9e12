"""What the merged OpenAPI document says of itself: its groups, and how to sign in."""

TAGS = {
    "sign-in": "登录 · Signing in from the WeChat mini-program; all else at `/oauth2`.",
    "oauth2": "OpenID Connect · Authorization code with PKCE, tokens, devices, revocation.",
    "accounts": "账户 · Registering, who I am, ways to sign in, departments.",
    "portal": "首页 · The first screen of an app in one call.",
    "catalog": "事项 · Finding services, what they need, cost and take; packages (一件事).",
    "cases": "办件 · From draft to closed: form, materials, progress, clock.",
    "payments": "缴费 · Fees and paying them.",
    "licences": "电子证照 · Mine, showing one, verifying one.",
    "addresses": "地址簿 · Where parcels go.",
    "shipments": "寄送 · Parcels and their tracks.",
    "ratings": "好差评 · Rating what was done.",
    "matters": "我的办件 · Everything of a person with whose turn it is.",
    "my data": "我的数据 · What is held of me, who looked, corrections, copies, closing.",
    "firms": "企业 · Firms and who acts for them.",
    "mandates": "委托 · Acting for somebody else.",
    "events": "事件 · The feed, and what events look like.",
    "partners": "部门系统 · The ledger of departments' systems.",
    "clients": "应用 · Applications that sign people in.",
    "window": "窗口 · Accepting and deciding cases.",
    "tasks": "审批 · The desk of reviewers.",
    "staff": "工作人员 · Who works here, with which rights.",
    "catalog editing": "事项编制 · Drafts of items and their publication.",
    "catalog search": "事项搜索 · Everyday words, and searches that found nothing.",
    "refunds": "退款 · Money on its way back.",
    "ledger": "账簿 · Sums of the books.",
    "reconciliations": "对账 · Channels' bills against the books.",
    "ops": "运维 · How every service is; dead letters; what staff did.",
}
"""What the operations are grouped by, in the order in which one meets them."""
SIGN_IN = (
    "An ES256 access token of ten minutes: authorization code with PKCE at `/oauth2/authorize`, "
    "see `/.well-known/openid-configuration`. The scopes that an operation names: `openid` for "
    "people, firms and staff, `events` for systems of departments, `internal` between services."
)
