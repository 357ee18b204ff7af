"""`python -m productagg.sandbox`: the stand-in Offers service and the shops, until Ctrl-C or SIGTERM.

This module only reads options and waits; `server.py` does the work.
"""

import json
import logging
import signal
import threading

import click

from productagg.sandbox.faults import KINDS, Fault, FaultError
from productagg.sandbox.server import SandboxServer, request_log
from productagg.sandbox.service import DEVELOPMENT_REFRESH_TOKEN, TOKEN_LIFETIME

log = logging.getLogger("productagg.sandbox")


class CannotListen(click.ClickException):
    """The port is not available."""

    exit_code = 2


def _read_faults(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> list[Fault]:
    try:
        return [Fault.from_json(json.loads(text)) for text in texts]
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    except FaultError as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=6544, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free port.")
@click.option(
    "--refresh-token",
    default=DEVELOPMENT_REFRESH_TOKEN,
    show_default=True,
    envvar="OFFERS_REFRESH_TOKEN",
    show_envvar=True,
    help="The only refresh token that is accepted.",
)
@click.option(
    "--token-lifetime",
    default=TOKEN_LIFETIME,
    show_default=True,
    type=click.IntRange(min=1),
    help="Lifetime of access tokens, in seconds.",
)
@click.option(
    "--shop-secret",
    envvar="SANDBOX_SHOP_SECRET",
    show_envvar=True,
    help="The bearer token that the shops' JSON wants. Without it, none is wanted.",
)
@click.option("--latency", default=0.0, type=click.FloatRange(0, 86_400), help="Seconds to delay every response.")
@click.option("--error-share", default=0.0, type=click.FloatRange(0, 1), help="Share of requests to answer with 500.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    callback=_read_faults,
    metavar="JSON",
    help='Any fault, such as \'{"kind": "rate_limit", "endpoints": ["offers"], "times": 3}\'. May be repeated. Kinds: '
    f"{', '.join(KINDS)}.",
)
@click.option("--quiet", is_flag=True, help="Do not log requests.")
def main(
    host: str,
    port: int,
    refresh_token: str,
    token_lifetime: int,
    shop_secret: str | None,
    latency: float,
    error_share: float,
    faults: list[Fault],
    quiet: bool,
) -> None:
    """Run a stand-in Offers service, and three shops.

    The shops have pages for people with data of schema.org (/shops/SHOP), feeds (/feeds/SHOP.xml,
    /feeds/SHOP-heureka.xml) and JSON (/shop-api/SHOP/products). SHOP is kellermann, nordkiste or bazar24.

    The Offers service keeps the contract of the real one. All misbehave on demand: by the options below, or at run time
    through /control. GET /control shows the state. PUT and DELETE /control/faults, PUT /control/token-claim, POST
    /control/forget, /control/end-token and /control/refuse change it. Access tokens name their end in the claim
    "expires", as those of the real service do; PUT {"claim": "exp"} to /control/token-claim switches new tokens to the
    standard's claim.
    """
    if error_share:
        faults = [Fault("error", share=error_share), *faults]
    if latency:
        faults = [Fault("latency", {"seconds": latency}), *faults]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    request_log.disabled = quiet
    _run(
        SandboxServer(
            host,
            port,
            refresh_token=refresh_token,
            token_lifetime=token_lifetime,
            faults=faults,
            shop_secret=shop_secret or None,
        )
    )


def _run(server: SandboxServer) -> None:
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with server:
            log.info("serving the Offers sandbox on %s", server.base_url)
            threading.Event().wait()
    except KeyboardInterrupt:
        log.info("stopped")
    except OSError as error:
        reason = error.strerror or error
        raise CannotListen(f"cannot listen on {server.host}:{server.port}: {reason}") from error


if __name__ == "__main__":
    main(prog_name="python -m productagg.sandbox")
