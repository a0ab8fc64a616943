# SPDX-License-Identifier: Apache-2.0
"""Hooks of the documentation site (mkdocs.yml).

The Markdown files are written for the repository: links lead to any file of it.
The hooks publish some files of the repository's root as pages, turn links to
files that are not part of the site into links to the repository, and check
every link of every Markdown file, and every path of the repository that stands
in backquotes. A broken link or path is a warning, which fails the build in
strict mode. External links are checked for their syntax only.
"""

import logging
import posixpath
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks.meshvm")

ROOT = Path(__file__).resolve().parents[2]

# Files of the repository's root that are pages of the site.
ROOT_PAGES = {
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "GOVERNANCE.md": "project/governance.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
}

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.M | re.S)
CODE = re.compile(r"`[^`\n]*`")
PATH = re.compile(r"`((?:api|build|charts|cmd|config|controllers|docs|hack|internal|test)/[\w./*<>-]+)`")
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()\s*([^()\s]+)\s*(\))")
SOURCE = re.compile(r"(<img[^>]*\bsrc=\")([^\"]+)(\")")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.M)


def on_files(files, config):
    """Adds the pages from the repository's root and checks all links."""
    for name, uri in ROOT_PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    for name in tracked_markdown():
        check(name)
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites the links of a page to other pages or to the repository."""
    source = repository_path(page.file.src_uri)

    def rewrite(match):
        target = match.group(2)
        path, anchor = split(target)
        if external(target) or not path:
            return match.group(0)
        path = resolve(source, path)
        uri = ROOT_PAGES.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(uri) and (path in ROOT_PAGES or path.startswith("docs/")):
            link = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        else:
            link = config.repo_url.rstrip("/") + "/" + path
        return match.group(1) + link + anchor + match.group(3)

    return outside_code(markdown, lambda text: LINK.sub(rewrite, text))


def repository_path(uri):
    for name, page in ROOT_PAGES.items():
        if page == uri:
            return name
    return "docs/" + uri


def outside_code(markdown, change):
    """Applies change to the text between code blocks and code spans."""
    kept = []

    def keep(match):
        kept.append(match.group(0))
        return f"\x00{len(kept) - 1}\x00"

    text = change(CODE.sub(keep, FENCE.sub(keep, markdown)))
    while "\x00" in text:
        text = re.sub("\x00(\\d+)\x00", lambda m: kept[int(m.group(1))], text)
    return text


def tracked_markdown():
    out = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [n for n in out.splitlines() if (ROOT / n).exists()]


def check(name):
    """Warns of each link of a Markdown file that leads nowhere."""
    text = (ROOT / name).read_text()
    check_paths(name, text)

    def look(match):
        target = match.group(2)
        if external(target):
            parts = urlsplit(target)
            if parts.scheme != "mailto" and "." not in parts.netloc:
                log.warning("%s: %s is not a valid address", name, target)
            return match.group(0)
        path, anchor = split(target)
        file = ROOT / (resolve(name, path) if path else name)
        if not file.exists():
            log.warning("%s: %s does not exist", name, target)
        elif anchor and file.suffix == ".md" and anchor[1:] not in anchors(file):
            log.warning("%s: %s has no heading %s", name, path or "the page", anchor)
        return match.group(0)

    outside_code(text, lambda t: SOURCE.sub(look, LINK.sub(look, t)))


def check_paths(name, text):
    """Warns of each path in backquotes that does not exist.

    Decisions and the changelog may name files of the past. A path with a
    placeholder, as in <kind>, is cut before it.
    """
    if name.startswith("docs/decisions/") or name == "CHANGELOG.md":
        return
    for path in PATH.findall(FENCE.sub("", text)):
        known = path.partition("<")[0]
        if "<" in path:
            known = posixpath.dirname(known)
        if not any(ROOT.glob(known.rstrip("/"))):
            log.warning("%s: %s does not exist", name, path)


def anchors(file):
    """The anchors of a file's headings, as GitHub makes them."""
    text = FENCE.sub("", file.read_text())
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def external(target):
    return re.match(r"[a-z][a-z0-9+.-]*:", target) is not None


def split(target):
    path, sharp, anchor = target.partition("#")
    return path, sharp + anchor


def resolve(source, path):
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
