"""Dependencies of FastAPI's that commit after the answer has left are found, and those are right to be."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from service_behind import Behind

from failwell.service import LateCommitError, check, guarded


class Session:
    """A database's."""

    def __init__(self) -> None:
        self.committed = 0

    def commit(self) -> None:
        self.committed += 1
        raise RuntimeError("the commit failed")

    def close(self) -> None: ...

    @contextmanager
    def begin(self) -> Iterator["Session"]:
        yield self
        self.commit()


session = Session()
LOCK = threading.Lock()


def commits() -> Iterator[Session]:
    yield session
    session.commit()


async def commits_in_the_end() -> AsyncIterator[Session]:
    try:
        yield session
    finally:
        session.commit()


def commits_by_with() -> Iterator[Session]:
    with session.begin() as begun:
        yield begun


@contextmanager
def scoped() -> Iterator[Session]:
    try:
        yield session
        session.commit()
    finally:
        session.close()


def commits_by_a_manager_of_its_own() -> Iterator[Session]:
    with scoped() as begun:
        yield begun


async def fails_behind() -> AsyncIterator[int]:
    yield 1
    raise RuntimeError("it was not done")


class Committing:
    def __call__(self) -> Iterator[Session]:
        yield session
        session.commit()


def on_top(inner: Annotated[Session, Depends(commits)]) -> Session:
    return inner


def closes() -> Iterator[Session]:
    try:
        yield session
    except Exception:
        session.commit()  # what it says of the failure, before an answer
        raise
    finally:
        session.close()


def commits_before() -> Iterator[Session]:
    session.commit()
    yield session


def with_another_manager() -> Iterator[Session]:
    with open(__file__, encoding="utf-8"), memoryview(b""):
        yield session


def behind_a_lock() -> Iterator[Session]:
    with LOCK:
        yield session


def plain() -> Session:
    return session


LATE = [
    commits,
    commits_in_the_end,
    commits_by_with,
    commits_by_a_manager_of_its_own,
    fails_behind,
    Committing(),
    on_top,
]
IN_TIME = [closes, commits_before, with_another_manager, behind_a_lock, plain]


def _app(dependency: Any, method: str = "POST", scope: Any = None, **facts: Any) -> FastAPI:
    app = FastAPI()

    @app.api_route("/x", methods=[method], status_code=201)
    @guarded(**facts)
    async def endpoint(given: Annotated[Any, Depends(dependency, scope=scope)]) -> None: ...

    return app


def _found(folder: Path, app: FastAPI) -> list[tuple[str, str]]:
    with Behind(folder, app=app) as here:
        try:
            check(here.service)
        except LateCommitError as exc:
            found = exc
        else:
            return []
    assert 'Depends(..., scope="function")' in str(found)
    for finding in found.findings:
        assert str(finding) in str(found)
        assert finding.where.startswith(__file__)
    return [(finding.operation, finding.dependency) for finding in found.findings]


@pytest.mark.parametrize("dependency", LATE)
def test_a_commit_behind_the_answer_is_found(tmp_path: Path, dependency: Any) -> None:
    ((operation, name)) = _found(tmp_path, _app(dependency))[0]

    expected = commits if dependency is on_top else dependency
    assert (operation, name) == ("POST /x", getattr(expected, "__qualname__", "?"))


@pytest.mark.parametrize("dependency", IN_TIME)
def test_what_runs_in_time_or_changes_nothing_is_not_found(tmp_path: Path, dependency: Any) -> None:
    assert _found(tmp_path, _app(dependency)) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: _app(commits, scope="function"),
        lambda: _app(commits, method="GET"),
        # Of a request with a key the answer is held back until all is done.
        lambda: _app(commits, idempotency="resumable", key_required=True),
    ],
)
def test_where_the_answer_waits_or_nothing_changes_there_is_nothing_to_find(
    tmp_path: Path, make: Callable[[], FastAPI]
) -> None:
    assert _found(tmp_path, make()) == []


def test_an_answer_without_a_key_leaves_before_such_a_commit_and_one_in_scope_does_not(
    tmp_path: Path,
) -> None:
    """
    What the finding is about.
    """
    statuses = []
    for number, scope in enumerate((None, "function")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Behind(folder, app=_app(commits, scope=scope)) as here:
            statuses.append(here.ask("POST", "/x").status)

    assert statuses == [201, 500]


def test_dependencies_of_routers_and_of_what_is_mounted_are_looked_at(tmp_path: Path) -> None:
    app, sub = FastAPI(), FastAPI()
    router = APIRouter(prefix="/r", dependencies=[Depends(commits)])

    @router.post("/a")
    async def in_router() -> None: ...

    @sub.post("/b")
    async def in_sub(given: Annotated[Any, Depends(fails_behind)]) -> None: ...

    @app.post("/c")
    async def in_include() -> None: ...

    including = APIRouter()
    including.include_router(router, dependencies=[Depends(commits_by_with)])
    app.include_router(including)
    app.mount("/sub", sub)

    assert {
        ("POST /r/a", "commits"),
        ("POST /r/a", "commits_by_with"),
        ("POST /sub/b", "fails_behind"),
    } == set(_found(tmp_path, app))


def test_a_dependency_without_a_source_is_left_out(tmp_path: Path) -> None:
    names: dict[str, Any] = {"session": session}
    exec("def commits():\n    yield session\n    session.commit()", names)  # it has no file

    assert _found(tmp_path, _app(names["commits"])) == []
