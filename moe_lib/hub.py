"""Whether the Hugging Face Hub can be reached: asked once here, because its own library tries again
for most of a minute."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def hub_unreachable() -> bool:
    """True if the Hub is switched off (HF_HUB_OFFLINE) or no name server knows it. Behind a proxy
    only the proxy can look names up, so there it counts as reachable."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        getproxies() or socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return True
    return False
