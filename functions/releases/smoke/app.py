"""The hook of CodeDeploy that tries a new version of a function before it gets calls."""

from ordering.entry import smoke

handler = smoke.smoke_from_environment()
