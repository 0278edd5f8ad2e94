"""Whether a key has expired is judged by the clock of the worker, whatever the store's clock says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from service_place import code_of, place
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def fine(request: Request) -> Response:
    return JSONResponse({})


@pytest.mark.parametrize("apart", [-3600.0, 0.0, 3600.0])
def test_a_key_is_over_by_the_workers_clock(
    tmp_path: Path, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(tmp_path, fine, idempotency="resumable") as here:
        worker = here.clock.now + apart
        monkeypatch.setattr(time, "time", lambda: worker)
        good = here.new_key(expires_at=worker + 1.0)
        over = here.new_key(expires_at=worker)
        answers = [here.run(api_key=key) for key in (good, over)]

    assert answers[0].status == 200
    assert code_of(answers[1]) == (401, "api_key_expired")


def test_a_key_that_is_revoked_is_so_from_the_next_request_on(tmp_path: Path) -> None:
    with place(tmp_path, fine, idempotency="resumable") as here:
        before = here.run()
        here.store.revoke_key(here.key[:12])
        after = here.run()

    assert before.status == 200
    assert code_of(after) == (401, "api_key_revoked")
