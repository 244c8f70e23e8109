"""The browser of the tests: Chromium without windows, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, expect, sync_playwright

# How long a page may take for what it is expected to show; on a busy machine, MLflow's UI took more than 20 s to draw.
DEADLINE_MS = 90_000
# The first is Chromium without an address bar, windows and what else nobody sees here; Playwright uses it where it
# brings a browser itself. A test takes 0.7 of the processor time that the whole Chromium needs.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
# The pages behind the address bar are rendered for every new window, although nobody sees it: a third of the processor
# time of a test that opens one.
_ADDRESS_BAR = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup")
# What Playwright switches off. Only the last such option of a command line counts, so they are named again.
_BY_PLAYWRIGHT = (
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *(
        "HttpsFirstBalancedModeAutoEnable",
        "LensOverlay",
        "MediaRouter",
        "PaintHolding",
        "ThirdPartyStoragePartitioning",
    ),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled"),
    *("PreconnectToSearch", "Translate"),
)


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser in a process of its own; it is gone afterwards."""
    arguments = [
        "--no-sandbox",  # root, as in CI's container, has none
        f"--disable-features={','.join((*_BY_PLAYWRIGHT, *_ADDRESS_BAR))}",
    ]
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()
