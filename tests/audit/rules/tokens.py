# What the rules of tokens.yaml find and leave alone; `semgrep --test` compares.
import hashlib
import hmac
import random
import secrets

from jose import jws, jwt


def read(token, key, options):
    # ruleid: token-without-fixed-algorithm
    jwt.decode(token, key)
    # ruleid: token-without-fixed-algorithm
    jwt.decode(token, key, algorithms=None)
    # ruleid: token-without-fixed-algorithm
    jwt.decode(token, key, algorithms=options["alg"])
    # ruleid: token-without-fixed-algorithm
    jws.verify(token, key, None)
    # ok: token-without-fixed-algorithm
    jwt.decode(token, key, algorithms=["ES256"])
    # ok: token-without-fixed-algorithm
    jws.verify(token, key, ["ES256"])
    # ok: token-not-verified
    jwt.decode(token, key, algorithms=["ES256"], audience="beam")
    # ruleid: token-not-verified
    jwt.get_unverified_claims(token)
    # ruleid: token-not-verified
    return jwt.decode(token, key, algorithms=["ES256"], options={"verify_signature": False})


def same(given, body, key, account):
    # ruleid: secret-compared-in-variable-time
    if given == hmac.new(key, body, hashlib.sha256).hexdigest():
        return True
    # ruleid: secret-compared-in-variable-time
    if given != account.password:
        return False
    # ok: secret-compared-in-variable-time
    if given == account.number:
        return True
    # ok: secret-compared-in-variable-time
    return hmac.compare_digest(given, account.secret)


def code():
    # ruleid: guessable-random
    first = random.randint(0, 999999)
    # ruleid: guessable-random
    second = random.choices("abc", k=20)
    # ok: guessable-random
    pause = random.uniform(0.5, 1.5)
    # ok: guessable-random
    return first, second, pause, secrets.randbelow(1000000), secrets.choice("abc")
