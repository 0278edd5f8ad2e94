"""
The storm: what a crowd of clients does to a service that has just been away.

    result = run(World(load=0.933, outage=10.0), seeds=20)
    print(result.row("failwell").recovery)

The clients are the library's own flow, budget and breaker, with a clock that jumps; beside them
stand the policies that others use, each from its source. What is simulated, and what is not, is
said by `World`.
"""

from __future__ import annotations

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell.storm.policies import POLICIES as POLICIES
    from failwell.storm.policies import Policy as Policy
    from failwell.storm.real import RealResult as RealResult
    from failwell.storm.real import run_real as run_real
    from failwell.storm.results import Row as Row
    from failwell.storm.results import StormResult as StormResult
    from failwell.storm.results import run as run
    from failwell.storm.results import sweep as sweep
    from failwell.storm.simulation import Run as Run
    from failwell.storm.simulation import simulate as simulate
    from failwell.storm.world import World as World

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "failwell.storm.policies": ("POLICIES", "Policy"),
        "failwell.storm.real": ("RealResult", "run_real"),
        "failwell.storm.results": ("Row", "StormResult", "run", "sweep"),
        "failwell.storm.simulation": ("Run", "simulate"),
        "failwell.storm.world": ("World",),
    },
)
