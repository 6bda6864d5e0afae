"""The page of `textae explore`, in a real browser where there is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
BROWSER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1100,900"
)


@pytest.fixture(scope="module")
def address(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page on the sentences that a model knows by heart."""
    folder = tmp_path_factory.mktemp("explore")
    (folder / "cold.txt").write_text("the soup was cold .\n")
    (folder / "hot.txt").write_text("the soup was hot .\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.cli", "explore", "--run", str(trained.run), "--port", str(port)]
    command += ["--sentences", str(trained.data / "train.txt"), "--attribute", "hot", "cold.txt", "hot.txt"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"http://127.0.0.1:{port} (Ctrl-C ends it)\n"
        yield line.split()[0]
        process.terminate()


@pytest.fixture
def browser(address: str) -> Iterator[Any]:
    if None in BROWSER:
        pytest.skip("Chromium is not installed: Debian's packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for option in OPTIONS.split():
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(BROWSER[1]))
    driver.get(address)
    yield driver
    driver.quit()


def until(found: Callable[[], Any], expected: object, seconds: float = 30.0) -> None:
    """Waits for what a page shows in its own time."""
    end = time.monotonic() + seconds
    seen = None
    while time.monotonic() < end:
        try:
            seen = found()
        except Exception as error:  # an element that is not there yet, or no longer
            seen = error
        if seen == expected:
            return
        time.sleep(0.1)
    raise AssertionError(f"{seen!r} is shown, not {expected!r}")


def shown(browser: Any, kind: str) -> list[Any]:
    return [element for element in browser.find_elements("css selector", kind) if element.is_displayed()]


def page_text(browser: Any) -> str:
    return str(browser.find_element("tag name", "body").text)


def type_into(box: Any, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text, Keys.ENTER)


def open_tab(browser: Any, name: str) -> None:
    next(tab for tab in shown(browser, "button[role=tab]") if tab.text == name).click()


def test_one_types_drags_and_reads_a_decoded_sentence(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    until(lambda: len(shown(browser, "textarea")), 3)
    first, last, decoded = shown(browser, "textarea")
    type_into(first, "never again")
    type_into(last, "service is great .")
    [slider] = shown(browser, "input[type=range]")
    slider.send_keys(Keys.END)
    until(lambda: decoded.get_attribute("value"), "service is great .")
    slider.send_keys(Keys.HOME)
    until(lambda: decoded.get_attribute("value"), "never again")


def test_an_attribute_is_a_slider(browser: Any) -> None:
    until(lambda: len(shown(browser, "button[role=tab]")), 4)
    open_tab(browser, "Change an attribute")
    until(lambda: len(shown(browser, "textarea")), 2)
    sentence, decoded = shown(browser, "textarea")
    type_into(sentence, "the soup was cold .")
    until(lambda: decoded.get_attribute("value"), "the soup was hot .")
    from selenium.webdriver.common.keys import Keys

    [slider] = shown(browser, "input[type=range]")
    for _ in range(10):  # from 1 to 0
        slider.send_keys(Keys.LEFT)
    until(lambda: decoded.get_attribute("value"), "the soup was cold .")


def test_samples_and_neighbours_are_shown(browser: Any) -> None:
    until(lambda: len(shown(browser, "button[role=tab]")), 4)
    open_tab(browser, "Around a sentence")
    until(lambda: "the soup was cold ." in page_text(browser), True)
    from selenium.webdriver.common.keys import Keys

    sigmas, count, _ = shown(browser, "input[type=range]")
    sigmas.send_keys(Keys.HOME)
    until(lambda: page_text(browser).split("sampled")[1].split("\n")[1:9], ["the soup was cold ."] * 8)
    count.send_keys(Keys.HOME)
    until(lambda: page_text(browser).count("the soup was cold ."), 1)
    open_tab(browser, "Map")
    until(lambda: len(shown(browser, "textarea")), 1)
    type_into(shown(browser, "textarea")[0], "never again")
    until(lambda: page_text(browser).split("distance")[1].split("\n")[1:3], ["never again", "0.000"])
    until(lambda: len(shown(browser, "img")) > 0, True)


def test_a_sentence_of_unknown_words_is_answered_with_a_message(browser: Any) -> None:
    until(lambda: len(shown(browser, "textarea")), 3)
    type_into(shown(browser, "textarea")[0], "<b>zebras</b>")
    said = "sentence 1 has no word that the model knows: <b>zebras</b>"
    until(lambda: said in page_text(browser), True)


def test_the_page_is_for_this_machine_alone(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    with socket.socket() as other:
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.1", port)) == 0
    listening = Path("/proc/net/tcp")
    if listening.exists():
        rows = [line.split()[1] for line in listening.read_text().splitlines()[1:]]
        assert [row for row in rows if row.endswith(f":{port:04X}")] != []
        assert {row.split(":")[0] for row in rows if row.endswith(f":{port:04X}")} == {"0100007F"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port=70000"], "--port is 70000: give 1 to 65535"),
        (["--port=0"], "--port is 0: give 1 to 65535"),
        (["--sentences=one.txt"], "one.txt has one sentence: a map has two or more"),
        (["--attribute", "hot", "one.txt", "missing.txt"], "missing.txt cannot be read"),
    ],
)
def test_bad_input_is_one_line(textae: Command, moved: Path, tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "one.txt").write_text("never again\n")
    (tmp_path / "two.txt").write_text("never again\nthe soup was cold .\n")
    more = [] if options[0].startswith("--sentences") else ["--sentences=two.txt"]
    assert said in textae("explore", "--run", moved, *options, *more, fails=True).error


def test_a_port_that_is_taken_is_one_line(trained: Any, address: str) -> None:
    port = address.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "experiments.cli", "explore", "--run", str(trained.run), "--port", port]
    command += ["--sentences", str(trained.data / "train.txt")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.endswith(f"textae explore: --port {port} of 127.0.0.1 is taken: give another\n")
