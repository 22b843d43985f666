"""The order API's own code, which the functions share as a layer."""

import gc
import os

if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    # A function imports this package before all others, and what it imports stays: there is next to nothing to collect.
    # `entry.wiring.initialised` switches the collector on again.
    gc.disable()
    # The layer has no plugin of pydantic, which would look for one in the metadata of each package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
