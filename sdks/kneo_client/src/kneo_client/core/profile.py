"""
Where the API key and the base URL come from.

Each of the two is looked for by itself, in this order:

1. the argument (`api_key=`, `base_url=`);
2. the profile that the argument `profile=` names;
3. the environment (`KNEO_API_KEY`, `KNEO_BASE_URL`);
4. the profile that `KNEO_PROFILE` names, else the file's `default_profile`, else "default".

A profile is a table of `config.toml` in the user's configuration folder:

    default_profile = "production"

    [profiles.production]
    base_url = "https://kneo.example.com"
    api_key = "..."

A profile named in code goes before the environment, because whoever names one does not expect
the key of another to be sent to it. The file is read only if something is still missing.

No frame that can raise holds an API key as plain text: trackers of errors show the locals.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failwell.errors import ArgumentTypeError, ConfigurationError
from failwell.redaction import Secret
from failwell.settings import masked, sendable

log = logging.getLogger("kneo_client.profile")

API_KEY, BASE_URL, PROFILE = "KNEO_API_KEY", "KNEO_BASE_URL", "KNEO_PROFILE"
_VARIABLES = {"api_key": API_KEY, "base_url": BASE_URL}
_NAMED = {"api_key": "API key", "base_url": "base URL"}
_USED = (API_KEY, BASE_URL, PROFILE, "XDG_CONFIG_HOME", "HOME", "APPDATA", "USERPROFILE")


@dataclass(frozen=True, slots=True)
class Profile:
    """
    Who calls which platform.

    Attributes:
        api_key: Prints as a mask.
        base_url: Where the platform is.
        sources: Where each of the two came from, for a person.
    """

    api_key: Secret
    base_url: str
    sources: Mapping[str, str]


def config_file(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path | None:
    """
    Where the profiles of this user are; None for a user without a home folder.

    Returns:
        `%APPDATA%\\kneo\\config.toml` on Windows, `~/Library/Application Support/kneo/config.toml`
        on macOS, else `$XDG_CONFIG_HOME/kneo/config.toml` or `~/.config/kneo/config.toml`.

    Source:
        XDG Base Directory Specification 0.8; a relative `XDG_CONFIG_HOME` does not count.
    """
    env = os.environ if environ is None else environ
    if platform == "win32":
        folder = env.get("APPDATA") or _below_home(env, "AppData", "Roaming")
    elif platform == "darwin":
        folder = _below_home(env, "Library", "Application Support")
    else:
        stated = env.get("XDG_CONFIG_HOME", "")
        folder = stated if stated.startswith("/") else _below_home(env, ".config")
    return None if folder is None else Path(folder) / "kneo" / "config.toml"


def _below_home(env: Mapping[str, str], *parts: str) -> str | None:
    home = env.get("HOME") or env.get("USERPROFILE")
    return None if not home else str(Path(home, *parts))


def resolve(
    api_key: str | None = None,
    base_url: str | None = None,
    profile: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Profile:
    """
    The API key and the base URL to use.

    Args:
        api_key: Goes before everything else.
        base_url: Goes before everything else.
        profile: The name of a profile, which goes before the environment.
        environ: Environment variables; the process's own by default. An empty one counts as unset.

    Raises:
        ConfigurationError: a value is found nowhere, a named profile does not exist, or the file
            cannot be read.
        ArgumentTypeError: an argument is no string.
    """
    env, environ, api_key = _used(environ), None, masked(api_key)
    given = {"api_key": _text("api_key", api_key), "base_url": _text("base_url", base_url)}
    _text("profile", profile)
    found: dict[str, str] = {}
    sources: dict[str, str] = {}

    def take(values: Mapping[str, str | None], where: Mapping[str, str]) -> bool:
        """Take what is still missing from `values`; whether nothing is missing any more."""
        for name, value in values.items():
            if value and name not in found:
                found[name], sources[name] = value, where[name]
        return len(found) == len(_VARIABLES)

    complete = take(given, {name: f"the argument {name}" for name in given})
    if not complete and profile is not None:
        values, where = _profile(profile, "the argument profile", env)
        complete = take(values, dict.fromkeys(values, where))
    if not complete:
        complete = take({name: env.get(var) for name, var in _VARIABLES.items()}, _VARIABLES)
    if not complete and profile is None:
        values, where = _profile(env.get(PROFILE) or None, PROFILE, env)
        take(values, dict.fromkeys(values, where))

    for name in _VARIABLES:
        if name not in found:
            raise ConfigurationError(_missing(name, profile or env.get(PROFILE), env))
    key = sendable(Secret(found["api_key"]), sources["api_key"])
    return Profile(key, found["base_url"], sources)


def _used(environ: Mapping[str, str] | None) -> dict[str, str]:
    """The variables that count here, the key masked."""
    env = os.environ if environ is None else environ
    used = {name: env[name] for name in _USED if name in env}
    return used | {API_KEY: Secret(used[API_KEY])} if API_KEY in used else used


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a string")
    if not value:
        raise ConfigurationError(f"{name} is empty; leave it out to have it looked up")
    return value


def _missing(name: str, profile: str | None, env: Mapping[str, str]) -> str:
    path = config_file(env)
    where = "the user's configuration folder, which cannot be found" if path is None else str(path)
    return (
        f"no {_NAMED[name]}: pass {name}=..., set {_VARIABLES[name]}, or put {name} under "
        f"[profiles.{profile or 'default'}] in {where}"
    )


def _profile(name: str | None, named_by: str, env: Mapping[str, str]) -> tuple[dict[str, str | None], str]:
    """
    The values of a profile, and where they are.

    Args:
        name: Which; None for the file's default, which need not exist.
        named_by: Who named it, for the message.
        env: Environment variables.
    """
    path = config_file(env)
    if path is None or (data := _read(path)) is None:
        if name is None:
            return {}, ""
        raise ConfigurationError(f"profile {name!r} ({named_by}): there is no file {path or 'for profiles'}")
    wanted = str(name or _string(data, "default_profile", f"{path}") or "default")
    profiles = data.get("profiles", {})
    if not isinstance(profiles, dict):
        raise ConfigurationError(f"{path}: profiles is not a table; write [profiles.{wanted}]")
    if wanted not in profiles:
        if name is None and "default_profile" not in data:
            return {}, ""
        raise ConfigurationError(
            f"profile {wanted!r} ({named_by if name else 'default_profile'}) is not in {path}; "
            f"it has {', '.join(map(repr, profiles)) or 'no profiles'}"
        )
    table, where = profiles[wanted], f"[profiles.{wanted}] in {path}"
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} is not a table")
    key, url = _string(table, "api_key", where), _string(table, "base_url", where)
    if key:
        _warn_if_open(path)
    return {"api_key": key, "base_url": url and str(url)}, where


def _string(table: Mapping[str, Any], name: str, where: str) -> str | None:
    value = table.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{where}: {name} is not a string")
    return value


def _read(path: Path) -> dict[str, Any] | None:
    """The file's content, its strings masked; None if there is no such file."""
    data, problem = _parsed(path)
    if problem:
        # Raised here, outside the handler: TOMLDecodeError and UnicodeDecodeError hold the text,
        # with the keys in it.
        raise ConfigurationError(f"{path} cannot be used: {problem}")
    return data


def _parsed(path: Path) -> tuple[dict[str, Any] | None, str]:
    import tomllib

    try:
        # Windows' editors begin a file with a byte order mark, which TOML does not know.
        return masked(tomllib.loads(path.read_bytes().decode("utf-8-sig"))), ""
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as exc:
        return None, exc.strerror or type(exc).__name__
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        return None, f"it is not UTF-8 (at line {line})"
    except tomllib.TOMLDecodeError as exc:
        return None, str(exc)
    except RecursionError:
        return None, "it is nested too deeply"


def _warn_if_open(path: Path) -> None:
    """
    Say so if other users can read the keys.

    A warning in the log and not a refusal: containers mount such files with fixed modes. Not in
    the `warnings` module either, where `-W error` would turn a good key into a crash.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # gone since it was read
        return
    # Other systems keep rights elsewhere, and report a mode that means nothing.
    if os.name == "posix" and mode & 0o077:
        log.warning("%s holds an API key and other users may read it: chmod 600 %s", path, path)
