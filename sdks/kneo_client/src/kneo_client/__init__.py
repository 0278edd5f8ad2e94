"""
A client for the Kneo platform.

    from kneo_client import KneoClient
    from kneo_client.core.errors import KneoError

    with KneoClient() as client:
        run = client.platform.runs.create({"spec_id": "spec_1"})

Every name below is loaded when it is first used, so that catching an error loads no HTTP engine.
"""
