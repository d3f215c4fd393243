"""Plans: what they may say, and that everything else is told with file, key and remedy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flyball
from flyball.errors import Error
from flyball.load.plan import Arrivals, ChatOptions, Limits, Plan, Stage, Users, read_plan, server_url
from flyball.load.plan import _plan as plan_of
from flyball.load.table import Table

ROOT = Path(__file__).parents[3]
FLOW = '[flows.a]\nkind = "page"\nload = "iterations"\niterations = 1\n'
ARRIVALS = '[flows.a]\nkind = "chat"\nload = "arrivals"\n'


def read(tmp_path: Path, text: str | bytes) -> Plan:
    path = tmp_path / "plan.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_plan(path)


def test_the_bundled_plan_has_the_three_flows() -> None:
    plan = read_plan(ROOT / "load/console.toml")
    assert [flow.name for flow in plan.flows] == ["page", "chat", "jobs"]
    assert plan.url == ""
    assert all(flow.thresholds for flow in plan.flows)


def test_defaults_and_values(tmp_path: Path) -> None:
    plan = read(
        tmp_path,
        'url = "http://127.0.0.1:8080/v1/"\n'
        + ARRIVALS
        + 'stages = [{rate = 1, to = 3, seconds = 2.5}, {rate = 3, seconds = 1}]\nspacing = "even"\n'
        + "goodput = { first_token_ms = 100, per_token_ms = 20.5 }\n"
        + '[[flows.a.thresholds]]\nmetric = "first_token"\nlimit = " p(99.9)  <= 10"\nseverity = "critical"\n'
        + '[flows.b]\nkind = "jobs"\nload = "users"\nusers = 2\nseconds = 3\npause_s = 0.5\n',
    )
    assert plan.url == "http://127.0.0.1:8080"
    chat, jobs = plan.flows
    assert chat.load == Arrivals((Stage(1, 3, 2.5), Stage(3, 3, 1)), "even", 1000)
    assert isinstance(chat.options, ChatOptions)
    assert chat.options.prompts
    assert chat.goodput == Limits(None, 100, 20.5)
    assert str(chat.thresholds[0]) == "p(99.9)<=10"
    assert chat.thresholds[0].severity == "critical"
    assert jobs.load == Users(2, 3, None, 0.5)
    assert (plan.seed, plan.late_ms, plan.grace_s) == (0, 50, 30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "flows: is missing"),
        ("x", "is not TOML"),
        (b"name = '\xff'", "at byte 8: is not UTF-8"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("seed = 1" + "0" * 5000, "is not TOML"),
        ("seed = 1" + "0" * 400 + "\n" + FLOW, "seed: is 1000"),
        ("flows = 1", "flows: is 1, must be a table"),
        ("[flows]\na = 1", "flows.a: is 1, must be a table [flows.a]"),
        ('[flows."a b"]', "has a name that is not of letters"),
        ('[flows."{x}"]', "has a name that is not of letters"),
        ("[flows.a]", "flows.a.kind: is missing"),
        ('[flows.a]\nkind = "pages"', "flows.a.kind: is 'pages', must be one of page, chat, jobs"),
        ('[flows.a]\nkind = "page"', "flows.a.load: is missing"),
        ('[flows.a]\nkind = "page"\nload = 3', "flows.a.load: is 3, must be text"),
        (FLOW + "itterations = 2", "flows.a.itterations: is no key here; known are"),
        (FLOW + "login = true\n", "flows.a.login: is no key here"),
        ("nam = 'x'\n" + FLOW, "nam: is no key here; known are flows, grace_s"),
        ("schema = 2\n" + FLOW, "schema: must be 1"),
        ("schema = true\n" + FLOW, "schema: is True, must be a whole number"),
        ("serve = 1\n" + FLOW, "serve: is 1, must be true or false"),
        ("serve = true\nurl = 'http://h'\n" + FLOW, "serve: is true beside an url"),
        ("url = 'ftp://h'\n" + FLOW, "url: is 'ftp://h', must be http"),
        ("url = 'http://'\n" + FLOW, "url: is 'http://', must be"),
        ("url = 'http://h:99999'\n" + FLOW, "url: is"),
        ("url = 'http://h:x'\n" + FLOW, "url: is"),
        ("url = 'http://[::1'\n" + FLOW, "url: is"),
        ("url = 'http://u:p@h'\n" + FLOW, "url: is"),
        ('url = "http://h/\\r\\nx: y"\n' + FLOW, "url: is"),
        ("url = 'http://h/?q'\n" + FLOW, "url: is"),
        ("key_env = 'A'\nkey_file = 'B'\n" + FLOW, "key_file: is given beside key_env"),
        ("seed = -1\n" + FLOW, "seed: is -1, must be 0 to"),
        ("seed = 1.5\n" + FLOW, "seed: is 1.5, must be a whole number"),
        ("late_ms = nan\n" + FLOW, "late_ms: is nan, must be 0 to 60000"),
        ("grace_s = inf\n" + FLOW, "grace_s: is inf"),
        ("timeout_s = 0\n" + FLOW, "timeout_s: is 0, must be 0.001 to"),
        ("late_ms = 1979-05-27\n" + FLOW, "late_ms: is datetime.date"),
        ("name = ''\n" + FLOW, "name: is empty"),
        ('[flows.a]\nkind = "page"\nload = "iterations"', "flows.a.iterations: is missing"),
        ('[flows.a]\nkind = "page"\nload = "users"', "flows.a.seconds: is missing"),
        ('[flows.a]\nkind = "page"\nload = "users"\nseconds = 1\nusers = 0', "flows.a.users: is 0"),
        ('[flows.a]\nkind = "page"\nload = "users"\nseconds = 0', "flows.a.seconds: is 0"),
        (FLOW.replace("iterations = 1", "iterations = 0"), "flows.a.iterations: is 0"),
        (FLOW + "path = 'x'", "flows.a.path: is 'x', must be like '/'"),
        (FLOW + 'path = "/ HTTP/1.1\\r\\n"', "flows.a.path: is"),
        (ARRIVALS, "flows.a.stages: has no arrivals"),
        (ARRIVALS + "stages = [{rate = 0, seconds = 1}]", "flows.a.stages: has no arrivals"),
        (ARRIVALS + "stages = [1]", "flows.a.stages[1]: is 1, must be a table"),
        (ARRIVALS + "stages = {rate = 1}", "flows.a.stages: is {'rate': 1}, must be a list of tables"),
        (ARRIVALS + "stages = [{rate = -1, seconds = 1}]", "flows.a.stages[1].rate: is -1"),
        (ARRIVALS + "stages = [{rate = 1}]", "flows.a.stages[1].seconds: is missing"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1, too = 2}]", "flows.a.stages[1].too: is no key here"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1}]\nspacing = 'odd'", "flows.a.spacing: is 'odd'"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1}]\nmost_running = 0", "flows.a.most_running: is 0"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1}]\nusers = 1", "flows.a.users: is no key here"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1}]\nprompts = []", "flows.a.prompts: must be a list"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1}]\nprompts = [1]", "flows.a.prompts: must be a list"),
        (ARRIVALS + "stages = [{rate = 1, seconds = 1}]\nmax_tokens = 0", "flows.a.max_tokens: is 0"),
        (FLOW + "goodput = 1", "flows.a.goodput: is 1, must be a table"),
        (FLOW + "goodput = {first_token_ms = 1}", "flows.a.goodput.first_token_ms: is no key here"),
        (FLOW + "goodput = {duration_ms = -1}", "flows.a.goodput.duration_ms: is -1"),
        (FLOW + "thresholds = 1", "flows.a.thresholds: is 1, must be a list of tables"),
        (FLOW + "[[flows.a.thresholds]]", "flows.a.thresholds[1].metric: is missing"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='x'\nlimit='rate<1'", "thresholds[1]: metric: is 'x', must be one of"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='checks'\nlimit='<1'", "thresholds[1]: limit: is '<1', must be like"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='checks'\nlimit='rate>2'", "a share is from 0 to 1"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='checks'\nlimit='p(95)>0.5'", "checks has rate"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='iteration_duration'\nlimit='avg<5'", "an average says nothing"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='iteration_duration'\nlimit='p(100)<5'", "below p(100)"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='iteration_duration'\nlimit='p(0)<5'", "above p(0)"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='iteration_duration'\nlimit='p(5)>5'", "times have upper limits"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='first_token'\nlimit='med<5'", "only flows of the kind chat"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='checks'\nlimit='rate>0'\nseverity='bad'", "severity: is 'bad'"),
        (FLOW + "[[flows.a.thresholds]]\nmetric='checks'\nlimit='rate>0'\nx=1", "flows.a.thresholds[1].x: is no key"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(Error) as found:
        read(tmp_path, text)
    assert str(tmp_path / "plan.toml") in str(found.value)
    assert said in str(found.value)


def test_missing_and_huge_files(tmp_path: Path) -> None:
    with pytest.raises(flyball.NotFound, match="does not exist"):
        read_plan(tmp_path / "none.toml")
    with pytest.raises(flyball.FormatError, match="longer than 1 MiB"):
        read(tmp_path, b"#" * (1 << 20) + b"x")


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5).map(lambda text: repr(text)[1:-1])),
    lambda inside: st.lists(inside, max_size=3),
    max_leaves=4,
)
KEYS = ["schema", "url", "serve", "seed", "late_ms", "flows", "name"]
INNER = ["kind", "load", "stages", "users", "seconds", "goodput", "thresholds", "prompts", "path", "iterations"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.dictionaries(st.sampled_from(INNER), VALUES))
def test_no_file_does_anything_but_an_error(outer: dict[str, object], inner: dict[str, object]) -> None:
    outer["flows"] = {"a": {"kind": "page", "load": "users", "seconds": 1} | inner}
    with suppress(Error):
        plan_of(Table(outer))


def test_addresses() -> None:
    assert server_url("https://h/api/v1") == "https://h/api"
    assert server_url("http://[::1]:80/") == "http://[::1]:80"
