"""The server's guard rails: API keys, limits on bodies and requests, day budgets, and a drain before the end.

The parts are plain classes; `rails.GuardRails` has them all, and `actors.serving.app` hooks them in. `addresses.check_bind` is asked
before the server starts.
"""
