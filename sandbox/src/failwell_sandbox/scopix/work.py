"""The process that looks at files, and copies them: `python -m failwell_sandbox.scopix.work`."""

from __future__ import annotations

import sys

from failwell_sandbox.child_work import Task, run


def task_of(kind: str) -> Task:
    """What does a task; imports what that needs and nothing else."""
    match kind:
        case "image":
            from failwell_sandbox.scopix.pictures import describe_all

            return describe_all
        case "document":
            from failwell_sandbox.scopix.documents import read_all

            return read_all
        case "analysis":
            from failwell_sandbox.scopix.scenes import analyse

            return analyse
        case _:
            from failwell_sandbox.scopix.clouds import copy_or_list

            return copy_or_list


if __name__ == "__main__":
    sys.exit(run(task_of, "scopix"))
