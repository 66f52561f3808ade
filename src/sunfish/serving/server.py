"""The server as a program: its socket, its token, its end."""

from __future__ import annotations

import errno
import socket
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from sunfish.config.rules import shown
from sunfish.serving.app import build_app
from sunfish.serving.connections import LimitedConnection
from sunfish.serving.security import is_loopback
from sunfish.serving.service import Service
from sunfish.text_files import read_text
from sunfish.utils import UsageError, log

MIN_TOKEN = 16  # characters
MAX_CONNECTIONS = 512  # each takes a file descriptor, of which a process has 1,024 on many systems
HOW_TO_MAKE_A_TOKEN = 'python3 -c "import secrets; print(secrets.token_urlsafe())"'


def check_token(token: str, source: str) -> str:
    """A token that is hard to guess, and that a header can hold.

    Raises:
        UsageError: ``source`` holds none.
    """
    token = token.strip()
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{source} holds no token of at least {MIN_TOKEN} letters and digits; make one: {HOW_TO_MAKE_A_TOKEN}"
        )
    return token


def find_token(file: Path | None, variable: str | None) -> str | None:
    """The token in ``file``, or else in the environment's ``variable``; None: there is none.

    Raises:
        UsageError: The token is too short, or does not fit into a header.
    """
    if file is not None:
        return check_token(read_text(file), f"--token-file {file}")
    return None if variable is None else check_token(variable, "SUNFISH_TOKEN")


def check_reach(host: str, token: str | None) -> None:
    """Refuse to answer other machines without a token.

    Raises:
        UsageError: ``host`` is reached by others.
    """
    if token is None and not is_loopback(host):
        raise UsageError(
            f"host is {shown(host)}, which other machines reach; give a token with --token-file, or leave --host out"
        )


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: The host or the port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as why:
        number = getattr(why, "errno", None)
        if number == errno.EADDRINUSE:
            raise UsageError(f"port is {port}, which another program uses; give another --port") from why
        if number == errno.EACCES:
            raise UsageError(f"port is {port}, which this user may not use; give one above 1023") from why
        if isinstance(why, OverflowError):
            raise UsageError(f"port is {port}; give a number from 0, any free one, to 65535") from why
        raise UsageError(
            f"host is {shown(host)}, which is no address of this machine ({why.strerror}); leave --host out"
        ) from why


def server_of(service: Service) -> uvicorn.Server:
    """The server, which finishes what has begun when it is told to end."""
    connection: Any = partial(
        LimitedConnection, limits=service.limits
    )  # uvicorn asks for a class, and calls it
    config = uvicorn.Config(
        build_app(service),
        loop="asyncio",
        http=connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(service.limits.seconds) + 1,
    )
    return uvicorn.Server(config)


def run_server(service: Service, listener: socket.socket) -> None:
    """Answer until a signal comes; then finish what has begun, and raise the signal again."""
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
    log(f"serving {service.planner.model} at {address}; stop with Ctrl+C")
    server_of(service).run(sockets=[listener])
