"""Make docs/report.png again: `python -m tests.picture` trains the demo, and takes a picture of its report."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests import ROOT, browsing

TARGET = ROOT / "docs" / "report.png"


def main() -> None:
    """Train, report, open at the middle of the run, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        run, page = Path(folder, "demo"), Path(folder, "report.html")
        predlog = [sys.executable, "-m", "predlog"]
        subprocess.run(
            [*predlog, "demo", "--every", "5", "--seconds", "600", "--directory", str(run)],
            check=True,
            capture_output=True,
        )
        subprocess.run([*predlog, "report", str(run), "-o", str(page)], check=True)
        with browsing.browser(Path(folder, "profile")) as browser:
            browsing.look(browser, width=1280, height=880)
            browser.get(f"{page.as_uri()}#step=200&token=2")
            browsing.until(browser, "document.getElementById('curves').dataset.drawn !== undefined")
            browser.execute_script("document.getElementById('strip').scrollIntoView()")
            browser.save_screenshot(str(TARGET))
    print(f"{TARGET}: {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
