"""JupyterLab on a folder, and headless Chromium to look at it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port():
    """A port on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(folder, home):
    """Yield the address of a JupyterLab on a folder, without token, reachable from this machine only."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"),
    ]
    own = {name: str(home) for name in ("HOME", "XDG_DATA_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    environment = os.environ | own | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, server)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:  # it waits for a kernel; a kernel ends by itself without its server
            server.kill()
            server.wait()


def wait_for(address, server):
    """Wait until a server that was started answers."""
    for _ in range(200):
        assert server.poll() is None, "JupyterLab did not start"
        try:
            urllib.request.urlopen(f"{address}/api").close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError("JupyterLab did not answer within a minute")


@contextmanager
def chromium(height=2400):
    """Yield a page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "Chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        page = browser.new_page(viewport={"width": 1300, "height": height})
        page.set_default_timeout(60_000)
        yield page
        browser.close()
