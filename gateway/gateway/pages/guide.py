"""The guide's pages: a search, what it found, and one item in plain words."""

from collections.abc import Iterable
from decimal import Decimal
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from kit.views import View

from .layout import page, switches

EXAMPLES = ("开饭店", "身份证丢了", "退休", "结婚")
KINDS = {"person": ("个人", "people"), "enterprise": ("企业", "firms")}
DELIVERY = {"courier": ("快递到家", "by courier"), "counter": ("到窗口领取", "at a counter")}


def search(view: View, q: str = "") -> str:
    """The form that every page of the guide begins with."""
    t = view.t
    label = t("您想办什么事?", "What do you want to do?")
    hint = t("用平时说的话就行", "In your own words, in Chinese")
    return (
        f'<form action="/find" role="search"><label for="q">{label}</label>'
        f'<p class="hint" id="hint">{hint}</p>'
        f'<input type="search" id="q" name="q" value="{escape(q)}" maxlength="60" '
        f'autocomplete="off" aria-describedby="hint"><button>{t("查找", "Find")}</button></form>'
    )


def examples(view: View) -> str:
    links = " · ".join(
        f'<a href="/find?{urlencode({"q": word})}" lang="zh-CN">{word}</a>' for word in EXAMPLES
    )
    return f"<p>{view.t('例如:', 'For example: ')}{links}</p>"


def found(q: str, said: dict[str, Any], view: View) -> str:
    """`said` is what `GET /v1/items` answers."""
    t = view.t
    items = said.get("items")
    if not items:
        body = (
            f'<p role="status"><strong>{t("没有找到。", "Nothing was found.")}</strong></p><p>'
            + t(
                "请换个说法,或少写几个字;也可以看全部事项,或拨打 12345,有人为您查。",
                "Say it in other or fewer words, see all there is, or call 12345: somebody looks "
                "it up for you.",
            )
            + f'</p><p><a href="/find">{t("全部事项", "Everything there is")}</a></p>'
            + examples(view)
        )
    else:
        body = f"<ul>{''.join(f'<li>{_line(one, view)}</li>' for one in items)}</ul>"
        body += _more(said.get("next"), view)
    title = t("查找结果", "What was found") if q else t("全部事项", "Everything there is")
    here = f"/find?{urlencode({'q': q})}" if q else "/find"
    return page(title, search(view, q) + body, view, switches(view, here, language=True))


def _line(one: dict[str, Any], view: View) -> str:
    link = f'<a href="/items/{quote(one["code"])}" lang="zh-CN">{escape(one["name"])}</a>'
    facts = (
        f'<span lang="zh-CN">{escape(one["dept_name"])}</span>',
        _days(one["promise_days"], one["promise_unit"], view),
        _fee(one["fee_fen"], view),
    )
    return f"{link}<br>{' · '.join(fact for fact in facts if fact)}"


def _more(link: str | None, view: View) -> str:
    if not link:
        return ""
    return (
        f'<p><a href="/find?{escape(link.partition("?")[2])}">'
        f"{view.t('下一页', 'Next page')}</a></p>"
    )


def _days(days: int | None, unit: str | None, view: View) -> str:
    if days is None:
        return ""
    if days == 0:
        return view.t("当场办结", "done at once")
    working = unit == "working_day"
    return view.t(
        f"{days} 个{'工作日' if working else '自然日'}",
        f"{days} {'working ' if working else ''}day{'' if days == 1 else 's'}",
    )


def _fee(fen: int | None, view: View) -> str:
    if not fen:
        return view.t("免费", "free")
    yuan = Decimal(fen) / 100
    return view.t(f"{yuan:.2f} 元", f"CNY {yuan:.2f}")


def item(said: dict[str, Any], view: View) -> str:
    """`said` is what `GET /v1/items/{code}` answers; what it does not say is left out."""
    t = view.t
    body = (
        f"{_facts(said, view)}<h2>{t('要准备什么', 'What you need')}</h2>"
        f"{_materials(said.get('materials') or [], view)}"
        f"{_fields(said.get('form_fields') or [], view)}"
        f"<h2>{t('怎么办', 'How to go about it')}</h2>{_ways(said, view)}"
        f"{_basis(said.get('legal_basis') or [], view)}"
        f'<p><a href="/">{t("查别的事", "Look for something else")}</a></p>'
    )
    here = f"/items/{quote(said['code'])}"
    top = switches(view, here, language=True)
    return page(said["name"], body, view, top, title_lang="zh-CN" if view.english else "")


def _facts(said: dict[str, Any], view: View) -> str:
    t = view.t
    joint = t("、", ", ")
    who = joint.join(t(*KINDS[k]) for k in said.get("applicant_kinds") or [] if k in KINDS)
    promised = _days(said.get("promise_days"), said.get("promise_unit"), view)
    lawful = _days(said.get("statutory_days"), said.get("statutory_unit"), view)
    if lawful and said.get("statutory_known", True):
        promised += t(f"(法律规定最长 {lawful})", f" (the law allows {lawful})")
    if said.get("limits_verified") is False:
        promised += t("(演示资料,以部门公布的为准)", " (sample data: ask the department)")
    fee = said.get("fee") or {}
    cost = _fee(fee.get("amount_fen"), view)
    if fee.get("note"):
        cost += f' <span lang="zh-CN">({escape(fee["note"])})</span>'
    visits = t("不用跑", "not at all") if said.get("visits") == 0 else str(said.get("visits") or "")
    got = joint.join(t(*DELIVERY[d]) for d in said.get("delivery") or [] if d in DELIVERY)
    result = f'<span lang="zh-CN">{escape(said.get("result_name") or "")}</span>'
    lines = (
        (t("谁可以办", "Who may"), who),
        (t("要多久", "How long it takes"), promised),
        (t("多少钱", "What it costs"), cost),
        (t("要跑几趟", "How often you have to come"), visits),
        (t("办好后给您", "What you get"), result if said.get("result_name") else ""),
        (t("怎么拿", "How you get it"), got),
        (t("哪个部门办", "Who decides"), f'<span lang="zh-CN">{escape(said["dept_name"])}</span>'),
    )
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in lines if text)}</dl>"


def _materials(materials: Iterable[dict[str, Any]], view: View) -> str:
    t = view.t
    yours: list[str] = []
    ours: list[str] = []
    for one in materials:
        if one.get("kind") == "form":
            continue  # it is what the questions below become
        choice = (
            t("(没有也可以)", " (if you have it)") if one.get("necessity") == "optional" else ""
        )
        line = f'<li><span lang="zh-CN">{escape(one["name"])}</span>{choice}</li>'
        (ours if one.get("source") == "government" else yours).append(line)
    told = f"<ul>{''.join(yours)}</ul>" if yours else f"<p>{t('什么都不用带。', 'Nothing.')}</p>"
    if ours:
        why = t("政府已经有的,不用您交:", "The government has these; you need not bring them:")
        told += f"<p>{why}</p><ul>{''.join(ours)}</ul>"
    return told


def _fields(fields: Iterable[dict[str, Any]], view: View) -> str:
    t = view.t
    lines = []
    for one in fields:
        notes = [
            t("自动填好,您核对", "filled in for you to check") if one.get("prefill") else "",
            "" if one.get("required") else t("可不填", "if you like"),
        ]
        told = t(",", ", ").join(note for note in notes if note)
        tail = t(f"({told})", f" ({told})") if told else ""
        lines.append(f'<li><span lang="zh-CN">{escape(one["label"])}</span>{tail}</li>')
    if not lines:
        return ""
    return f"<h2>{t('会问您什么', 'What you are asked')}</h2><ul>{''.join(lines)}</ul>"


def _ways(said: dict[str, Any], view: View) -> str:
    t, area = view.t, said.get("handle_area") or ""
    area = f'<span lang="zh-CN">({escape(area)})</span>' if area else ""
    online = said.get("online_depth") in ("III", "IV")
    app = t(
        "在接入一网通办的手机应用里办:登录后按上面的内容填写、上传、提交,随时可以存着下次再填。",
        "In an app that is connected to this platform: sign in, fill in what stands above, hand it "
        "in; what is half done is kept.",
    )
    return (
        f"<ul>{f'<li>{app}</li>' if online else ''}<li>"
        + t("到政务服务窗口,由工作人员帮您填", "At a counter, where staff fill it in with you")
        + f"{area}</li><li>"
        + t("不清楚的,拨打 ", "Questions: call ")
        + '<a href="tel:12345">12345</a></li></ul>'
    )


def _basis(laws: Iterable[str], view: View) -> str:
    lines = "".join(f"<li>{escape(law)}</li>" for law in laws)
    if not lines:
        return ""
    return f'<h2>{view.t("依据的法律", "The law")}</h2><ul lang="zh-CN">{lines}</ul>'


def away(here: str, view: View) -> str:
    """`here` is the address to try again."""
    t = view.t
    sentence = t(
        "事项目录暂时打不开。请过一两分钟再试;急办的事请拨打 12345。",
        "The catalogue cannot be opened right now. Try again in a minute or two; for what cannot "
        "wait call 12345.",
    )
    return page(
        t("暂时打不开", "Not possible right now"),
        f"<p>{sentence}</p>",
        view,
        switches(view, here, language=True),
    )
