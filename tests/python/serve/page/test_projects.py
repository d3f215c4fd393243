"""Projects on the page, on a real server: whose key it is, another project made, and nothing of one seen in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from flyball.store import Store
from tests.python.serve.conftest import Running, Start
from tests.python.serve.page.conftest import Windows
from tests.python.serve.page.user import ask, button


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store with an owner and a member of the default project."""
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    with Store.open(path) as store:
        made = {role: store.project().keys.create(role, role=role).secret for role in ("owner", "member")}
    return path, made


@pytest.fixture(scope="module")
def real(start: Start, keys: tuple[Path, dict[str, str]]) -> Running:
    return start("--set", f"serve.store={keys[0]}")


@pytest.fixture
def windows(browser: Browser, real: Running) -> Windows:
    return Windows(browser, f"{real.url}/")


@pytest.fixture
def page(windows: Windows) -> Iterator[Page]:
    page = windows.open()
    yield page
    page.context.close()
    assert windows.complaints == []


def use(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    button(page, "Use key").click()


def make(page: Page, name: str) -> str:
    """Makes a project; the key that was shown."""
    page.get_by_label("Project", exact=True).select_option(label="New project …")
    page.get_by_label("Name").fill(name)
    button(page, "Create project").click()
    secret = page.get_by_label("Key of the project's owner")
    expect(secret).to_be_visible()
    said = secret.input_value()
    button(page, "Done").click()
    return said


def test_a_project_is_made_and_sees_nothing_of_others(page: Page, keys: tuple[Path, dict[str, str]]) -> None:
    use(page, keys[1]["owner"])
    project = page.get_by_label("Project", exact=True)
    expect(project).to_have_value("=default")
    ask(page, "Of the default project")
    secret = make(page, "Bahçe & <b>")
    assert secret.startswith("fb-")
    expect(project).to_have_value("=Bahçe & <b>")
    expect(page.locator("#messages article")).to_have_count(0)
    expect(page.locator("#conversation-list li")).to_have_count(0)
    ask(page, "Of the garden")
    project.select_option("=default")
    expect(page.locator("#messages article").first).to_contain_text("Of the default project")
    page.reload()
    expect(project).to_have_value("=default")
    expect(page.locator("#messages article").first).to_contain_text("Of the default project")
    project.select_option("=Bahçe & <b>")
    expect(page.locator("#messages article").first).to_contain_text("Of the garden")
    page.reload()
    expect(page.locator("#messages article").first).to_contain_text("Of the garden")
    with Store.open(keys[0]) as store:
        assert sum(store.project("Bahçe & <b>").requests.counts().values()) == 1


def test_what_is_refused_is_told(page: Page, keys: tuple[Path, dict[str, str]]) -> None:
    use(page, keys[1]["owner"])
    page.get_by_label("Project", exact=True).select_option(label="New project …")
    page.get_by_label("Name").fill("default")
    button(page, "Create project").click()
    expect(page.get_by_role("alert")).to_contain_text("default is a project already")
    button(page, "Cancel").click()
    expect(page.get_by_label("Project", exact=True)).to_have_value("=default")


def test_members_make_none(page: Page, keys: tuple[Path, dict[str, str]]) -> None:
    use(page, keys[1]["member"])
    project = page.get_by_label("Project", exact=True)
    expect(project).to_have_value("=default")
    assert project.locator("option").all_inner_texts() == ["default", "Another key …"]
    project.select_option(label="Another key …")
    expect(page.get_by_label("API key")).to_be_focused()
    expect(project).to_have_value("=default")


def test_without_keys_there_is_no_choice(browser: Browser, server: Running, start: Start) -> None:
    windows = Windows(browser, f"{start().url}/", strict=True)
    page = windows.open()
    ask(page, "Hello")
    expect(page.get_by_label("Project", exact=True)).to_be_hidden()
    page.context.close()
    assert windows.complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits(windows: Windows, keys: tuple[Path, dict[str, str]], width: int, tmp_path: Path) -> None:
    """The header has room for it on a phone, and the dialog is whole."""
    page = windows.open(width=width, locale="tr-TR")
    page.get_by_label("API anahtarı").fill(keys[1]["owner"])
    button(page, "Anahtarı kullan").click()
    project = page.get_by_label("Proje", exact=True)
    expect(project).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    project.select_option(label="Yeni proje …")
    expect(page.get_by_label("Ad", exact=True)).to_be_focused()
    box = page.locator("#project-dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    page.screenshot(path=tmp_path / f"projects-{width}.png")
    page.context.close()
