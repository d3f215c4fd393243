"""A plugin of Flyball: the weather of a place now, from Open-Meteo's two services."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from flyball.plugins import Call, Host, ToolError, hookimpl

# The World Meteorological Organization's codes, as Open-Meteo groups them.
_SKIES = {0: "clear", 3: "clouds", 48: "fog", 57: "drizzle", 67: "rain", 77: "snow", 82: "showers", 86: "snow showers"}


@hookimpl
def flyball_call_tool(call: Call, host: Host) -> dict[str, Any]:
    """The weather of `call.arguments["city"]`."""
    city = call.arguments["city"]
    found = _get(host, host.config["geocoding"], "/v1/search", {"name": city, "count": 1}).get("results")
    if not found:
        raise ToolError(f"there is no place called {city}")
    place = found[0]
    where = {"latitude": place["latitude"], "longitude": place["longitude"]}
    wanted = {"current": "temperature_2m,wind_speed_10m,weather_code"}
    now = _get(host, host.config["forecast"], "/v1/forecast", where | wanted)["current"]
    return {
        "place": f"{place['name']}, {place.get('country', '')}".rstrip(", "),
        "time": now["time"],
        "celsius": now["temperature_2m"],
        "wind_km_h": now["wind_speed_10m"],
        "sky": next((sky for code, sky in _SKIES.items() if now["weather_code"] <= code), "thunderstorm"),
    }


def _get(host: Host, base: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
    got = host.fetch(f"{base}{path}?{urlencode(query)}")
    if got.status != 200:
        raise ToolError(f"{base} answered with {got.status}")
    return dict(json.loads(got.body))
