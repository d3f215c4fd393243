"""`flyball config`: show every setting, its value, and where the value comes from."""

from __future__ import annotations

import argparse
import json

from ..config.configuration import changed_by_policy
from . import common, live_config


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "config", help="show the settings in force", description=__doc__, parents=[common.JSON]
    )
    parser.add_argument("--model", metavar="FILE", help="model file, as in the configuration")
    parser.add_argument("-n", dest="max_tokens", metavar="TOKENS", help="as in flyball run")
    common.add_flags(parser, (*common.MODEL_FLAGS, *common.SAMPLING_FLAGS))
    parser.add_argument(
        "--explain", action="store_true", help="also show range, environment variable and meaning of each key"
    )
    live_config.add_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the settings; the lines without --explain are a valid configuration file."""
    if args.server:
        return live_config.run(args)
    live_config.refuse_alone(args)
    settings = changed_by_policy(common.read_settings(args))
    if args.json:
        fields = ("value", "origin", "default", "kind", "least", "most", "choices", "variable", "meaning")
        common.write_json({key: {f: getattr(s, f) for f in fields} for key, s in settings.items()})
        return common.SUCCESS
    rows = []
    for setting in settings.values():
        literal = json.dumps(setting.value, ensure_ascii=False)
        rows.append([f"{setting.key} = {literal}", f"# {setting.origin}"])
        if args.explain:
            rows[-1] += [setting.allowed, setting.variable, setting.meaning]
    common.write_table(rows)
    return common.SUCCESS
