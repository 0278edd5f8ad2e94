"""
The commands. Each loads what it needs when it is called: `failwell explain 429` is to feel instant.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="HTTP APIs that fail well: explain a failure, rehearse every one of them.",
)


def run(arguments: list[str]) -> int:
    """Run the command line `arguments`; gives its exit status. What goes wrong is one sentence."""
    try:
        status = app(args=arguments, prog_name="failwell", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as exc:
        # typer ends the process itself when a command met a broken pipe.
        if isinstance(exc.__context__, BrokenPipeError):
            return _nobody_reads()
        raise
    except typer.Abort:
        return INTERRUPTED
    except Exception as exc:
        show = getattr(exc, "format_message", None)
        if show is None:
            raise
        from failwell.cli import tokens

        # What was typed in the wrong place may be a key.
        return _refuse(f"{tokens.masked(show()).rstrip('.')}. See failwell --help.")


def _nobody_reads() -> int:
    """Whoever read our output has seen enough (`| head`); without this Python complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return 0


def _refuse(sentence: str) -> int:
    print(f"failwell: {sentence}", file=sys.stderr)
    return USAGE


def _version(wanted: bool) -> None:
    if wanted:
        from failwell import __version__

        print(f"failwell {__version__}")
        raise typer.Exit


@app.callback()
def _failwell(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """HTTP APIs that fail well: explain a failure, rehearse every one of them."""


@app.command()
def explain(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|NAME|-]",
            help="A file with the output of curl -i or -v, an error body or a HAR; or a status, "
            "an exception, a code. Left out, or -: standard input.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[int | None, typer.Option("--status", "-s", help="The answer's status.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value'; any number.")
    ] = None,
    body: Annotated[str | None, typer.Option("--body", "-d", help="The answer's body, or @FILE.")] = None,
    method: Annotated[str | None, typer.Option("--method", "-X", help="The request's method.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The request's URL.")] = None,
    entry: Annotated[int | None, typer.Option("--entry", help="Which entry of a HAR file, from 1.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """
    Say what a failed answer means, whether anything happened, and whether to try again.

    \b
    curl -si https://api.example.com/things | failwell explain
    failwell explain saved.txt
    failwell explain trace.har --entry 3
    failwell explain --status 429 --header 'Retry-After: 30'
    failwell explain 429
    failwell explain RateLimitError
    failwell explain rate_limited
    """
    from failwell.cli import known
    from failwell.cli.exchange import UnreadableError
    from failwell.cli.explain import Given
    from failwell.cli.explain import explain as explained

    given = Given(what, status, header or [], body, method, url, entry)
    contracts = known.contracts()
    try:
        found = explained(given, contracts)
    except UnreadableError as exc:
        return _refuse(str(exc))
    if json:
        import json as codec

        for each in found:
            each.notes += contracts.problems
            print(codec.dumps(each.to_dict(), indent=2))
        return 0
    from failwell.cli import screen

    console = screen.console()
    for each in found:
        screen.show(each, console, contracts.problems)
    return 0


@app.command()
def drill(
    sdk: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SDK]...", help="Which clients; all by default.", show_default=False),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option("--client", help="Anybody's client instead: requests, my.module:call; any number."),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            "--service",
            metavar="URL",
            help="Your own service behind the faults; with --client.",
            show_default=False,
        ),
    ] = None,
    count_effects: Annotated[
        str | None,
        typer.Option(
            "--count-effects",
            metavar="MODULE:FUNCTION",
            help="Counts the effects of a call in your service; else nothing done once is proved.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this scenario; any number.")] = None,
    form: Annotated[
        Literal["sync", "async"] | None, typer.Option("--form", help="Only this form of the client.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="For the clients' dice.")] = 0,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="So often, and the verdicts have to be the same each time.")
    ] = 1,
    report: Annotated[
        Path, typer.Option("--report", help="Where to write drill.html, drill.json, report.md and junit.xml.")
    ] = Path("drill-report"),
    json: Annotated[bool, typer.Option("--json", help="Print the result for programs.")] = False,
    scenarios: Annotated[
        bool, typer.Option("--list", help="List what would be rehearsed instead, and what has to come of it.")
    ] = False,
    faults: Annotated[
        bool, typer.Option("--faults", help="List all faults instead, and the scenarios that use them.")
    ] = False,
    rule: Annotated[
        str | None, typer.Option("--explain", metavar="FD-…", help="Say what a rule is, and what to do.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Drill bad clients instead: each has to be found.")
    ] = False,
) -> int:
    """Rehearse every failure a client can meet, over real sockets, and prove what comes of it."""
    from failwell.cli import drill as command
    from failwell.cli.client_drill import clients_called, service_at
    from failwell.errors import UsageError

    try:
        at = service_at(service, count_effects, sdk or (), client or ())
        clients = clients_called(client or (), at, count_effects)
        asked = command.Asked(sdk or None, only or None, form, seed, repeat, clients, at)
    except UsageError as exc:
        return command.refuse(f"{exc}.")
    if self_test:
        return command.self_test()
    if rule is not None:
        return command.explain_rule(rule)
    if scenarios:
        return command.list_scenarios(asked, json=json)
    if faults:
        return command.list_faults(asked, json=json)
    return command.drill(asked, report, json=json)


@app.command()
def storm(
    load: Annotated[
        float | None,
        typer.Option(
            "--load", help="Calls, as a share of the capacity.", show_default="0.933; 0.8 with --real"
        ),
    ] = None,
    outage: Annotated[
        float | None,
        typer.Option("--outage", help="Seconds that the trigger lasts.", show_default="10; 8 with --real"),
    ] = None,
    trigger: Annotated[
        str,
        typer.Option("--trigger", help="hold (requests queue), refuse, or partial (one key in ten fails)."),
    ] = "hold",
    clients: Annotated[int, typer.Option("--clients", help="Each with its own budget and breaker.")] = 20,
    capacity: Annotated[
        float | None,
        typer.Option(
            "--capacity",
            help="Requests the service answers in a second.",
            show_default="100; 50 with --real",
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", help="Seconds between two calls of a client; sets the capacity.", show_default=False
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds until an attempt is given up.")] = 1.0,
    queue: Annotated[
        float | None,
        typer.Option(
            "--queue",
            help="Seconds after which the service answers 503 to what waited; by default it never does.",
            show_default=False,
        ),
    ] = None,
    after: Annotated[
        float | None,
        typer.Option(
            "--after", help="Seconds that are looked at behind it.", show_default="170; 42 with --real"
        ),
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="Only this one, such as 'jitter'; any number.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The first; the others follow it.")] = 1,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Runs of each.", show_default="5; of the model 20 with --real"),
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Find the edge: many loads and outages.")] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Let real clients call a real service; takes minutes.")
    ] = False,
    report: Annotated[
        Path, typer.Option("--report", help="Where to write storm.html and storm.json.")
    ] = Path("storm-report"),
    json: Annotated[bool, typer.Option("--json", help="Print the result for programs.")] = False,
) -> int:
    """Simulate what clients do to a service that was away: ours, and what others do."""
    from failwell.cli.storm import Asked
    from failwell.cli.storm import storm as simulate

    facts = {
        "load": load, "outage": outage, "trigger": trigger, "clients": clients, "capacity": capacity,
        "every": every, "timeout": timeout, "queue": queue, "after": after,
    }  # fmt: skip
    told = {name: value for name, value in facts.items() if value is not None}
    return simulate(Asked(told, policy or None, seed, seeds, sweep=sweep, real=real), report, json=json)


@app.command()
def sandbox(
    service: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE]...", help="Which services; all by default.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where they listen.")] = "127.0.0.1",
    port: Annotated[
        list[str] | None, typer.Option("--port", help="NAME=PORT; a free one by default.")
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="Keep their state in this directory.")] = None,
    store: Annotated[
        str,
        typer.Option(
            "--store",
            metavar="URL",
            show_default=False,
            help="sqlite:///file.db, postgresql://… or redis://…; SQLite in the state directory by default.",
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="How many processes serve; SQLite takes one.")
    ] = 1,
) -> int:
    """Serve the services behind the SDKs on loopback, with demo keys, until Ctrl-C."""
    from failwell.cli.sandbox import sandbox as serve

    return serve(service or None, host, port or [], state, store, workers)


@app.command()
def doctor(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="sqlite:///file.db, postgresql://host/database or redis://host/0.",
            show_default=False,
        ),
    ],
    prefix: Annotated[str, typer.Option("--prefix", help="What the keys in Redis begin with.")] = "failwell",
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many processes use the store.")] = 1,
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="PostgreSQL connections of each process.")
    ] = 4,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Say what is wrong with the set-up of a service's store, and what to do about it."""
    from failwell.cli.doctor import doctor as examine

    return examine(url, prefix=prefix, workers=workers, connections=connections, json=json)
