"""A page in a real browser, without a window."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason='Chromium is not installed: make browser')


def elements_after(page: Path, script: str, *arguments: str) -> str:
    """The document, as HTML, after a script has run in it; what it leaves in ``document.title`` is easiest to read.

    Errors of the page's own scripts fail the test.
    """
    watched = page.with_name(f'watched_{page.name}')
    report = "addEventListener('error', e => document.documentElement.dataset.error = e.message);"
    text = page.read_text(encoding='utf-8').replace('<head>', f'<head><script>{report}</script>', 1)
    watched.write_text(text.replace('</body>', f'<script>{script}</script></body>', 1), encoding='utf-8')
    command = [str(BROWSER), '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--dump-dom']
    command += ['--virtual-time-budget=4000', f'--user-data-dir={page.parent / "profile"}', *arguments]
    done = subprocess.run([*command, watched.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    fault = re.search(r'data-error="([^"]*)"', done.stdout)
    assert fault is None, fault
    return done.stdout
