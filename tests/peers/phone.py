"""A phone (or a desktop browser) that does what it is told: headless Chromium behind a line protocol.

Each line on standard input is an object `{"do": ACTION, ...}`; each is answered by one line on standard output, an
object with `ok`, and `error` where that is false. Needs selenium, /usr/bin/chromium and /usr/bin/chromedriver.
"""

import json
import os
import shutil
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

# What a page in the clear does not have anyway, and what other browsers may lack.
STRIPPED = """
  delete Object.getPrototypeOf(crypto).subtle; delete crypto.__proto__.randomUUID;
  Object.defineProperty(crypto, 'subtle', {value: undefined});
  Object.defineProperty(crypto, 'randomUUID', {value: undefined});
  Object.defineProperty(navigator, 'serviceWorker', {value: undefined});
"""


class Phone:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="phone-")
        self.driver = None

    def start(self, width=412, height=915, mobile=True, dark=False, stripped=False, downloads=None, insecure=False):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={self.profile}", f"--window-size={width},{height}",
        ]
        if insecure:
            flags.append("--ignore-certificate-errors")
        for flag in flags:
            options.add_argument(flag)
        if mobile:
            metrics = {"width": width, "height": height, "pixelRatio": 2.625, "touch": True}
            agent = ("Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
                     "Chrome/140.0.0.0 Mobile Safari/537.36")
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics, "userAgent": agent})
        if downloads:
            options.add_experimental_option("prefs", {
                "download.default_directory": downloads, "download.prompt_for_download": False,
                "safebrowsing.enabled": False, "profile.default_content_settings.popups": 0,
                "profile.default_content_setting_values.automatic_downloads": 1,
            })
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        if dark:
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        if stripped:
            self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": STRIPPED})
        if downloads:
            self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {
                "behavior": "allow", "downloadPath": downloads})

    def open(self, link):
        # The same page with another fragment would not be loaded again.
        self.driver.get("about:blank")
        self.driver.get(link)

    def reload(self):
        self.driver.refresh()

    def choose(self, paths, css="#files"):
        self.driver.find_element(By.CSS_SELECTOR, css).send_keys("\n".join(paths))

    def click(self, css):
        element = self.driver.find_element(By.CSS_SELECTOR, css)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, css, text):
        self.driver.find_element(By.CSS_SELECTOR, css).send_keys(text)

    def state(self):
        return self.driver.execute_script("return document.documentElement.dataset.state") or ""

    def wait(self, states, seconds=30):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.state()
            if state in states:
                return state
            time.sleep(0.05)
        raise AssertionError(f"the page is `{self.state()}`, not one of {states}: {self.text()[:600]}")

    def text(self, css="body"):
        return self.driver.find_element(By.CSS_SELECTOR, css).text

    def script(self, source):
        return self.driver.execute_script(source)

    def console(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def shot(self, path):
        self.driver.save_screenshot(path)

    def downloaded(self, folder, names, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            there = os.listdir(folder)
            if all(name in there for name in names) and not any(name.endswith(".crdownload") for name in there):
                return there
            time.sleep(0.05)
        raise AssertionError(f"{names} did not arrive, only {os.listdir(folder)}")

    def stop(self):
        if self.driver:
            self.driver.quit()
            self.driver = None
        shutil.rmtree(self.profile, ignore_errors=True)


def main():
    phone = Phone()
    try:
        for line in sys.stdin:
            order = json.loads(line)
            action = order.pop("do")
            try:
                answer = {"ok": True, "value": getattr(phone, action)(**order)}
            except Exception as error:  # what goes wrong in the browser is the caller's to judge
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    finally:
        phone.stop()


if __name__ == "__main__":
    main()
