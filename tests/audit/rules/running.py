# What the rules of running.yaml find and leave alone.
import asyncio
import contextlib
import json
import os
import pickle
import subprocess
import tarfile
import xml.etree.ElementTree

import jinja2
import markupsafe
import yaml


def quiet(act, log):
    # ruleid: error-swallowed
    try:
        act()
    except:
        log.error("failed")
    # ruleid: error-swallowed
    try:
        act()
    except Exception:
        pass
    # ruleid: error-swallowed
    with contextlib.suppress(Exception):
        act()
    # ok: error-swallowed
    with contextlib.suppress(FileNotFoundError):
        act()
    # ok: error-swallowed
    try:
        act()
    except Exception:
        log.exception("failed")


def load(raw):
    # ruleid: input-becomes-code
    pickle.loads(raw)
    # ruleid: input-becomes-code
    yaml.load(raw)
    # ruleid: input-becomes-code
    eval(raw)
    # ok: input-becomes-code
    yaml.load(raw, Loader=yaml.SafeLoader)
    # ok: input-becomes-code
    return json.loads(raw)


async def start(name):
    # ruleid: shell-command
    subprocess.run(f"ls {name}", shell=True)
    # ruleid: shell-command
    os.system("ls " + name)
    # ruleid: shell-command
    await asyncio.create_subprocess_shell(name)
    # ok: shell-command
    subprocess.run(["ls", name])


def show(raw, title, folder):
    # ruleid: xml-of-strangers
    xml.etree.ElementTree.fromstring(raw)
    # ok: xml-of-strangers
    json.loads(raw)
    # ruleid: markup-without-escape
    jinja2.Environment()
    # ruleid: markup-without-escape
    markupsafe.Markup(title)
    # ok: markup-without-escape
    markupsafe.Markup("<br>")
    # ok: markup-without-escape
    jinja2.Environment(autoescape=True)
    # ruleid: archive-unpacked-unseen
    tarfile.open(raw).extractall(folder)
    # ok: archive-unpacked-unseen
    tarfile.open(raw).extractall(folder, filter="data")
