"""The official Python clients as a user's program would set them up, against the daemon that HOLDFAST_RIG describes.

tests/integration/python.test.mjs sets that variable. Retries are off, so that a test sees the first answer.
"""
import base64
import itertools
import json
import os
import re
import uuid

from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AioClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.aio import KeyClient as AioKeyClient
from azure.keyvault.keys.crypto import CryptographyClient

RIG = json.loads(os.environ["HOLDFAST_RIG"])
ORIGIN = RIG["origin"]
VAULT = RIG["vault"]
POLL = {"_polling_interval": 0.02}
NO_RETRY = {"retry_total": 0}
VERSION = re.compile(r"[0-9a-f]{32}")

_numbers = itertools.count(1)


def fresh(kind):
    """A key name that no test has used."""
    return f"{kind}-{next(_numbers)}-{uuid.uuid4().hex[:6]}"


def principal(who, **changes):
    """Arguments of a credential: directory, client id, secret, and the authority."""
    user = {**RIG["principals"][who], **changes}
    # instance_discovery: how Debian's azure-identity (1.13.0b2) calls what 1.13.0 and later call disable_instance_discovery.
    return (user["tenant_id"], user["client_id"], user["secret"]), {"authority": ORIGIN, "instance_discovery": False, **NO_RETRY}


def credential(who="officer", **changes):
    args, options = principal(who, **changes)
    return ClientSecretCredential(*args, **options)


def keys(who="officer", vault=VAULT):
    return KeyClient(vault, credential(who), **NO_RETRY)


def crypto(key, who="officer"):
    return CryptographyClient(key, credential(who), **NO_RETRY)


def aio_credential(who="officer", **changes):
    args, options = principal(who, **changes)
    options.pop("instance_discovery")  # the aio credential never asks for it
    return AioClientSecretCredential(*args, **options)


def aio_keys(cred):
    return AioKeyClient(VAULT, cred, **NO_RETRY)


def remote(client, key, operation, **body):
    """An operation by the server that CryptographyClient would do locally, with the public key that it has read."""
    encoded = {name: value if name == "alg" else b64url(value) for name, value in body.items()}
    response = client.send_request(HttpRequest("POST", f"{key.id[len(VAULT) + 1:]}/{operation}", json=encoded))
    response.raise_for_status()
    value = response.json()["value"]
    return value if isinstance(value, bool) else un_b64url(value)


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def un_b64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
