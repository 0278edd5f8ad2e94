"""Where the API key and the base URL come from: argument, environment, profile."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failwell import ArgumentTypeError, ConfigurationError, UsageError
from kneo_client import KneoClient
from kneo_client.core import profile
from kneo_client.core.profile import config_file, resolve

FILE = """
[profiles.default]
api_key = "key-default"
base_url = "https://default.example"

[profiles.staging]
api_key = "key-staging"
base_url = "https://staging.example"

[profiles.half]
base_url = "https://half.example"
"""

Write = Callable[..., Path]
Shown = Callable[[BaseException], str]


@pytest.fixture
def write(config_home: Path) -> Write:
    def write(text: str | bytes = FILE, mode: int = 0o600) -> Path:
        path = config_home / "kneo" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


def _env(config_home: Path, **variables: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(config_home), **variables}


# --- the chain ---


def test_an_argument_goes_before_everything(write: Write, config_home: Path) -> None:
    write()
    env = _env(config_home, KNEO_API_KEY="key-env", KNEO_BASE_URL="https://env.example")

    found = resolve("key-arg", "https://arg.example", "staging", environ=env)

    assert (str(found.api_key), found.base_url) == ("key-arg", "https://arg.example")
    assert found.sources == {"api_key": "the argument api_key", "base_url": "the argument base_url"}


def test_the_environment_goes_before_the_default_profile(write: Write, config_home: Path) -> None:
    write()
    env = _env(config_home, KNEO_API_KEY="key-env", KNEO_BASE_URL="https://env.example")

    found = resolve(environ=env)

    assert (str(found.api_key), found.base_url) == ("key-env", "https://env.example")
    assert found.sources == {"api_key": "KNEO_API_KEY", "base_url": "KNEO_BASE_URL"}


def test_the_default_profile_comes_last(write: Write, config_home: Path) -> None:
    path = write()

    found = resolve(environ=_env(config_home))

    assert (str(found.api_key), found.base_url) == ("key-default", "https://default.example")
    assert found.sources["api_key"] == f"[profiles.default] in {path}"


def test_each_value_is_looked_for_by_itself(write: Write, config_home: Path) -> None:
    write()

    found = resolve(environ=_env(config_home, KNEO_API_KEY="key-env", KNEO_PROFILE="half"))

    assert (str(found.api_key), found.base_url) == ("key-env", "https://half.example")


def test_the_environment_may_name_the_profile(write: Write, config_home: Path) -> None:
    write()

    assert str(resolve(environ=_env(config_home, KNEO_PROFILE="staging")).api_key) == "key-staging"


def test_the_file_may_name_the_profile(write: Write, config_home: Path) -> None:
    write('default_profile = "staging"\n' + FILE)

    assert str(resolve(environ=_env(config_home)).api_key) == "key-staging"


def test_a_profile_named_in_code_goes_before_the_environment(write: Write, config_home: Path) -> None:
    """Or the production key of the environment would be sent to the staging platform."""
    write()
    env = _env(config_home, KNEO_API_KEY="key-env", KNEO_BASE_URL="https://env.example")

    found = resolve(profile="staging", environ=env)

    assert (str(found.api_key), found.base_url) == ("key-staging", "https://staging.example")


def test_what_a_profile_named_in_code_lacks_comes_from_the_environment(
    write: Write, config_home: Path
) -> None:
    write()

    found = resolve(profile="half", environ=_env(config_home, KNEO_API_KEY="key-env"))

    assert (str(found.api_key), found.base_url) == ("key-env", "https://half.example")


def test_an_empty_variable_counts_as_unset(write: Write, config_home: Path) -> None:
    write()
    env = _env(config_home, KNEO_API_KEY="", KNEO_PROFILE="", KNEO_BASE_URL="")

    assert str(resolve(environ=env).api_key) == "key-default"


def test_the_file_is_not_read_where_nothing_is_missing(write: Write, config_home: Path) -> None:
    write("this is not TOML")

    assert (
        resolve("key-arg", "https://arg.example", environ=_env(config_home)).base_url == "https://arg.example"
    )


def test_a_client_looks_up_what_it_is_not_given(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setenv("KNEO_API_KEY", "key-env")

    with KneoClient() as client:
        assert client.profile.sources["api_key"] == "KNEO_API_KEY"
        assert client.profile.base_url == "https://default.example"


# --- what goes wrong ---


def test_a_missing_key_names_all_three_places(config_home: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(base_url="https://arg.example", environ=_env(config_home))

    assert str(caught.value) == (
        "no API key: pass api_key=..., set KNEO_API_KEY, or put api_key under [profiles.default] in "
        f"{config_home}/kneo/config.toml"
    )


def test_a_missing_base_url_names_all_three_places(write: Write, config_home: Path) -> None:
    write('[profiles.a]\napi_key = "key-a"\n')

    with pytest.raises(ConfigurationError, match=r"no base URL: .*KNEO_BASE_URL.*\[profiles\.a\]"):
        resolve(profile="a", environ=_env(config_home))


def test_a_file_without_the_default_profile_is_no_mistake(write: Write, config_home: Path) -> None:
    write('[profiles.staging]\napi_key = "key-staging"\n')

    with pytest.raises(ConfigurationError, match=r"^no API key: pass api_key=.*KNEO_API_KEY.*default"):
        resolve(environ=_env(config_home))


@pytest.mark.parametrize(
    ("text", "named", "says"),
    [
        (FILE, "prod", "profile 'prod' .the argument profile. is not in .*'default', 'staging', 'half'"),
        ("", "prod", "it has no profiles"),
        (None, "prod", "there is no file"),
        ("default_profile = 'prod'\n" + FILE, None, "profile 'prod' .default_profile. is not in"),
        ("default_profile = 7\n", None, "default_profile is not a string"),
        ("profiles = 7\n", None, "profiles is not a table"),
        ("profiles.default = 7\n", None, "is not a table"),
        ("[profiles.default]\napi_key = 7\n", None, r"\[profiles.default\] in .*: api_key is not a string"),
        ("[profiles.default]\napi_key = a\n", None, r"config.toml cannot be used: .*line 2"),
        (b"[profiles.default]\napi_key = '\xff'\n", None, r"it is not UTF-8 \(at line 2\)"),
        ("deep = " + "[" * 5000 + "]" * 5000, None, "it is nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(
    write: Write, config_home: Path, text: str | bytes | None, named: str | None, says: str
) -> None:
    if text is not None:
        write(text)

    with pytest.raises(ConfigurationError, match=says):
        resolve(profile=named, environ=_env(config_home))


def test_a_byte_order_mark_does_no_harm(write: Write, config_home: Path) -> None:
    write(b"\xef\xbb\xbf[profiles.default]\napi_key = 'k'\nbase_url = 'https://kneo.example'\n")

    assert resolve(environ=_env(config_home)).api_key == "k"


def test_a_profile_that_the_environment_names_must_exist(write: Write, config_home: Path) -> None:
    write()

    with pytest.raises(ConfigurationError, match=r"profile 'prod' .KNEO_PROFILE. is not in"):
        resolve(environ=_env(config_home, KNEO_PROFILE="prod"))


def test_a_file_that_may_not_be_read_says_so(write: Write, config_home: Path) -> None:
    path = write()
    path.unlink()
    path.mkdir()

    with pytest.raises(ConfigurationError, match=r"config.toml cannot be used: Is a directory"):
        resolve(environ=_env(config_home))


def test_a_user_without_a_home_has_no_profiles() -> None:
    with pytest.raises(ConfigurationError, match="which cannot be found"):
        resolve(environ={})
    with pytest.raises(ConfigurationError, match="there is no file for profiles"):
        resolve(profile="a", environ={})


@pytest.mark.parametrize("key", ["with space", "line\nbreak", "ümlaut", "tab\t"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(key: str, config_home: Path) -> None:
    with pytest.raises(ConfigurationError, match="the API key from KNEO_API_KEY") as caught:
        resolve(base_url="https://a.example", environ=_env(config_home, KNEO_API_KEY=key))

    assert key not in str(caught.value)


def test_arguments_are_strings_with_something_in_them(config_home: Path) -> None:
    for name in ("api_key", "base_url", "profile"):
        with pytest.raises(ArgumentTypeError, match=name):
            resolve(**{name: 7}, environ=_env(config_home))
        with pytest.raises(ConfigurationError, match=f"{name} is empty"):
            resolve(**{name: ""}, environ=_env(config_home))


@pytest.mark.parametrize(
    "text",
    [
        "[profiles.default]\napi_key = 'sesame-open'\nbase_url = \n",
        b"[profiles.default]\napi_key = 'sesame-open'\nname = '\xff'\n",
    ],
)
def test_a_broken_file_s_keys_are_not_in_the_error(
    write: Write, config_home: Path, text: str | bytes, shown: Shown
) -> None:
    """Nor in what hangs on it: parsers keep the text they could not read."""
    write(text)

    with pytest.raises(ConfigurationError) as caught:
        resolve(environ=_env(config_home))

    assert "sesame" not in shown(caught.value)
    assert caught.value.__context__ is None
    assert b"sesame" not in pickle.dumps(caught.value)


SECRET_FILE = """
[profiles.default]
api_key = "sesame-file"
base_url = 7

[profiles.other]
api_key = "sesame-other"
apikey = "sesame-typo"
keys = ["sesame-list"]
"""


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "sesame-arg"},
        {"api_key": "sesame arg", "base_url": "https://a.example"},
        {"api_key": "sesame-arg", "base_url": "nonsense"},
        {"api_key": "sesame-arg", "profile": "none"},
        {"api_key": "sesame-arg", "base_url": "https://a.example", "retry": 7},
        {"api_key": "sesame-arg", "base_url": "https://a.example", "engine": "steam"},
        {"profile": "other"},
        {"profile": "none"},
        {"profile": 7},
    ],
)
def test_no_key_is_shown_where_a_client_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], shown: Shown
) -> None:
    write(SECRET_FILE)
    monkeypatch.setenv("KNEO_API_KEY", "sesame-env")

    with pytest.raises(UsageError) as caught:
        KneoClient(**settings)

    assert "sesame" not in shown(caught.value)
    assert "sesame" not in str(caught.value)


# --- the file ---


@pytest.mark.parametrize(
    ("platform", "environ", "path"),
    [
        ("linux", {"HOME": "/home/u"}, "/home/u/.config/kneo/config.toml"),
        ("linux", {"HOME": "/home/u", "XDG_CONFIG_HOME": "/x"}, "/x/kneo/config.toml"),
        ("linux", {"HOME": "/home/u", "XDG_CONFIG_HOME": "x"}, "/home/u/.config/kneo/config.toml"),
        ("darwin", {"HOME": "/Users/u"}, "/Users/u/Library/Application Support/kneo/config.toml"),
        ("win32", {"APPDATA": "/c/Roaming"}, "/c/Roaming/kneo/config.toml"),
        ("win32", {"USERPROFILE": "/c/u"}, "/c/u/AppData/Roaming/kneo/config.toml"),
        ("linux", {}, None),
    ],
)
def test_the_file_is_where_each_platform_keeps_such_files(
    platform: str, environ: dict[str, str], path: str | None
) -> None:
    assert config_file(environ, platform) == (None if path is None else Path(path))


@pytest.mark.skipif(os.name != "posix", reason="other systems keep rights elsewhere")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o644, True), (0o640, True)])
def test_a_file_with_keys_that_others_may_read_is_warned_of(
    write: Write, config_home: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = write(mode=mode)

    resolve(environ=_env(config_home))

    told = [r.getMessage() for r in caplog.records if r.name == "kneo_client.profile"]
    assert told == [f"{path} holds an API key and other users may read it: chmod 600 {path}"] * warned
    assert all(r.levelno == logging.WARNING for r in caplog.records)


def test_a_file_that_goes_away_while_it_is_read_has_been_read(
    write: Write, config_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    read = profile._read

    def read_and_remove(path: Path) -> dict[str, Any] | None:
        data = read(path)
        path.unlink()
        return data

    monkeypatch.setattr(profile, "_read", read_and_remove)

    assert str(resolve(environ=_env(config_home)).api_key) == "key-default"
    assert not path.exists()


def test_a_file_without_keys_may_be_read_by_all(
    write: Write, config_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(mode=0o644)

    resolve("key-arg", profile="half", environ=_env(config_home))

    assert caplog.records == []
