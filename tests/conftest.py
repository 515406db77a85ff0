"""For every test: nothing generated is timed, as machines that run other tests too are slow now and then."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")
