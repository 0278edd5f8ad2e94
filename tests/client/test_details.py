"""Small things of the client that no call shows by itself."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from failwell import ArgumentTypeError, BadAnswerError, Client, Connections, Operation
from failwell.call.messages import Sleep
from failwell.client import requests
from failwell.testing import FakeClock, ScriptedEngine, answer

VALUES = [{}, [], '\u00e9\u20ac"\\\n', {"a": [1, 2.5, None, True]}, {"b": {"\u00e9": "\x00"}}, 0, -1e300]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_without_the_compiled_encoder_the_same_json_is_written(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = requests._json_encoder()
    monkeypatch.setattr("json.encoder.c_make_encoder", None)
    plain = requests._json_encoder()

    assert compiled(value) == plain(value)
    assert json.loads(compiled(value)) == value


def test_an_answer_in_another_shape_needs_no_credentials_to_be_told() -> None:
    client = Client("https://api.example", engine=ScriptedEngine([answer(200, [])]), clock=FakeClock())

    with pytest.raises(BadAnswerError, match=r"not in the promised format \(application/json\): TypeError"):
        client.call(Operation("GET", "/", lambda r: r.json()["id"]))


def test_a_sleep_that_follows_no_attempt_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = Client("https://api.example", engine=ScriptedEngine([]))
    client._setup.announce(Sleep(1.0))

    assert caplog.messages == []


def test_connections_are_taken_by_their_type() -> None:
    Client("https://api.example", engine=ScriptedEngine([]), connections=Connections(max_idle=1)).close()
    wrong: Any = 5
    with pytest.raises(ArgumentTypeError, match=r"connections is a int; give a failwell\.Connections"):
        Client("https://api.example", connections=wrong)
