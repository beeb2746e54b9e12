# What the rules of privacy.yaml find and leave alone.
import logging

log = logging.getLogger(__name__)


def tell(person, bill, phone, body, path):
    # ruleid: personal-data-in-a-log
    log.info("registered %s", person.id_number)
    # ruleid: personal-data-in-a-log
    log.warning("code sent to %s", phone)
    # ruleid: personal-data-in-a-log
    log.info("sent", extra={"phone": phone})
    # ruleid: personal-data-in-a-log
    log.error("refused %s", bill["address"])
    # ruleid: personal-data-in-a-log
    log.debug("got %s", body)
    # ok: personal-data-in-a-log
    log.info("paid %s", bill.id)
    # ruleid: person-named-in-a-log
    log.info("registered %s", person.name)
    # ok: person-named-in-a-log
    log.info("read %s", path.name)


def refuse(body, Problem):
    if len(body.title) > 80:
        # ruleid: input-in-an-error
        raise Problem(422, f"the title {body.title} is too long")
    # ok: input-in-an-error
    raise Problem(422, "the title is too long")
