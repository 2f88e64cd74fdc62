"""The page of `examples/web`, built and served, and a headless Chromium to open it."""

import contextlib
import functools
import http.server
import shutil
import subprocess
import threading

import pytest
from places import ROOT

WEB = ROOT / "examples" / "web"
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--disable-dev-shm-usage --window-size=1000,800""".split()
SOFTWARE_GPU = """--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader
--enable-features=Vulkan --use-vulkan=swiftshader""".split()
CAMERA = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"


def build(folder):
    """The page in `folder`/dist; skips where it cannot be built or opened."""
    for tool in ("npm", "chromium", "chromedriver"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    pytest.importorskip("selenium")
    kept = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(WEB, folder, dirs_exist_ok=True, ignore=kept)
    for words in (["ci"], ["run", "build"]):
        command = ["npm", *words, "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder / "dist"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a folder on the loopback interface."""
    handler = functools.partial(_Handler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Page:
    """The page in a browser."""

    def __init__(self, driver):
        self.driver = driver

    def text(self, name):
        return self.driver.find_element("id", name).text

    def script(self, body, *values):
        """What an asynchronous function with this body returns."""
        code = (
            "const values = [...arguments], done = values.pop();"
            f"(async () => {{ {body} }})().then(done, (e) => done(`failed: ${{e}}`))"
        )
        return self.driver.execute_async_script(code, *values)

    def drop(self, name):
        """Drops a file that is served beside the page on it."""
        self.script(
            "const [name] = values, dataTransfer = new DataTransfer();"
            "const data = await (await fetch(name)).blob();"
            "dataTransfer.items.add(new File([data], name));"
            "dispatchEvent(new DragEvent('drop', { dataTransfer }));",
            name,
        )

    def click(self, name):
        self.driver.find_element("id", name).click()

    def wait(self, *words):
        """The message, once it has one of some words or is of a problem."""
        from selenium.webdriver.support.wait import WebDriverWait

        def said(driver):
            message = driver.find_element("id", "message")
            problem = message.get_attribute("class")
            found = problem or any(word in message.text for word in words)
            return found and message.text

        return WebDriverWait(self.driver, 240, 0.1).until(said)


@contextlib.contextmanager
def opened(address, *flags):
    """A browser that shows an address, and what the page says once it is ready."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_script_timeout(240)
        driver.get(address)
        yield Page(driver)
    finally:
        driver.quit()
