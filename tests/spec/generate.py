#!/usr/bin/env python3
"""Writes mqtt-3.1.1.md and mqtt-5.0.md: each numbered statement, and the tests that cite it.

    python3 generate.py           writes them
    python3 generate.py --check   fails when they differ from what it would write

A test cites a statement in a comment above or within it, or in a text: `MQTT-3.1.2-24 (v3.1.1),
MQTT-3.1.2-22 (v5)`. Versions stand behind the statements they are for: `(v3.1.1)`, `(3.1.1 and
5.0)`, `(both)`, `of 5.0`. `MQTT-3.3.2-4, -15 to -18` is short for what one expects. A citation
without a version counts if only one version has the statement, or if both lists use the same words
for it; the others are listed, so that somebody writes the version. A citation says that the test
looks at the statement, not that it leaves nothing of it open. Statements that bind clients alone are
in client-alone.txt, each with its reason. Needs Python, nothing else.
"""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VERSIONS = ("3.1.1", "5.0")
# Where tests are: files that are tests as a whole, and the end of any other source file.
WHERE = (("src", "*.rs"), ("tests", "*.rs"), ("tests", "*.py"), ("bench", "*.rs"))
SKIPPED = {"target", "node_modules", "spec", "venv", ".venv"}
# The list of 3.1.1 has this one with a misprint, which is its name now.
MISPRINTS = {("3.1.1", "3.8.3-4"): "3-8.3-4"}

# How the reason begins for a statement about something that this server is not.
NEVER = "it never applies: "

TOKEN = re.compile(
    r"MQTT-(?P<section>\d+(?:[.-]\d+)*)-(?P<number>\d+)"
    r"|(?<=[,do] )-(?P<short>\d+)\b"
    r"|\b(?P<to>to)\b(?= (?:MQTT)?-)"
    r"|\((?P<marks>(?:v?3\.1\.1|v?5(?:\.0)?|both)(?: and v?5(?:\.0)?)?)\)"
    r"|\bof (?P<of>3\.1\.1|5\.0)\b"
)
COMMENT = re.compile(r"^\s*(?:///?|#)\s?(.*)$")
NAMED = re.compile(r"^\s*(?:pub(?:\([a-z:]+\))? )?(?:async )?(?:const )?(?:fn|def) (\w+)")


def statements(version):
    """Words by statement, in the order of the list."""
    lines = (HERE / f"statements-{version}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    listed = {}
    for name, words in pairs:
        if name in listed:
            sys.exit(f"statements-{version}.txt has {name} twice")
        listed[name] = words
    return listed


def bind_clients(lists, tests):
    """Reasons by (version, statement) that no test of a server can look at."""
    found = {}
    for line in (HERE / "client-alone.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        version, name, reason = line.split(" ", 2)
        is_met = lists[version].get(name, "").startswith("(client)") or reason.startswith(NEVER)
        if name not in lists[version] or not is_met:
            sys.exit(f"client-alone.txt: {version} {name} is no duty of clients")
        # A test that found a way counts for more.
        if (version, name) not in tests:
            found[version, name] = reason
    return found


def citations(text):
    """(statement, versions or None) of a comment."""
    found, waiting, reaches = [], [], False

    def versions_of(marks):
        if marks == "both":
            return VERSIONS
        return tuple(v for v in VERSIONS if re.search(rf"\b{'v?5' if v == '5.0' else 'v?3'}", marks))

    for token in TOKEN.finditer(text):
        marks = token["marks"] or token["of"]
        if marks:
            found += [(name, versions_of(marks)) for name in waiting]
            waiting = []
        elif token["to"]:
            reaches = bool(waiting)
        else:
            if token["short"]:
                if not waiting:
                    continue
                section, number = waiting[-1].rsplit("-", 1)[0], int(token["short"])
            else:
                section, number = token["section"], int(token["number"])
            if reaches:
                last_section, last = waiting[-1].rsplit("-", 1)
                if last_section == section:
                    waiting += [f"{section}-{n}" for n in range(int(last) + 1, number)]
            waiting.append(f"{section}-{number}")
            reaches = False
    return found + [(name, None) for name in waiting]


def blocks(lines):
    """(name of the function, text) of each comment, and of each other line that cites something."""
    function, comment, is_above = None, [], False
    for line in [*lines, ""]:
        is_comment = COMMENT.match(line)
        if is_comment and not line.lstrip().startswith(("#[", "#!")):
            is_above = is_above or line.lstrip().startswith("///")
            comment.append(is_comment[1])
            continue
        named = NAMED.match(line)
        if comment and line.lstrip().startswith(("#[", "@")):
            continue
        if named:
            function = named[1]
        if comment:
            # What documents something else than a function is no test's.
            owner = (named[1] if named else None) if is_above else function
            yield owner, " ".join(comment)
            comment, is_above = [], False
        if "MQTT-" in line:
            yield function, line


def test_lines(path):
    """The lines of a file that are tests; empty ones for the others."""
    name = path.relative_to(ROOT).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    whole = name.startswith("tests/") or "/tests/" in name or name.endswith("tests.rs")
    if whole or "#![cfg(test)]" in lines:
        return lines
    starts = (n for n, line in enumerate(lines) if re.match(r"#\[cfg\((?:all\()?test\b", line))
    for start in starts:
        if start + 1 < len(lines) and lines[start + 1].startswith("mod ") and lines[start + 1].endswith("{"):
            return lines[start:]
    return []


def scan(lists):
    """Tests by (version, statement), and findings: citations that count for nothing."""
    tests, vague, unknown = {}, set(), set()
    for folder, pattern in WHERE:
        for path in sorted((ROOT / folder).rglob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if SKIPPED.intersection(name.split("/")):
                continue
            for function, text in blocks(test_lines(path)):
                if function is None:
                    continue
                place = (name, function)
                for statement, versions in citations(text):
                    spelled = {v: MISPRINTS.get((v, statement), statement) for v in VERSIONS}
                    has = [v for v in VERSIONS if spelled[v] in lists[v]]
                    if versions is None:
                        words = {lists[v][spelled[v]] for v in has}
                        if len(words) > 1:
                            vague.add((statement, place))
                            continue
                        versions = tuple(has) or VERSIONS
                    for version in versions:
                        if version in has:
                            tests.setdefault((version, spelled[version]), set()).add(place)
                        else:
                            unknown.add((version, statement, place))
    return tests, vague, unknown


def said(place):
    return f"`{place[0]}::{place[1]}`"


def page(version, listed, tests, alone, vague, unknown):
    cited = sum((version, name) in tests for name in listed)
    bound = [name for name in listed if (version, name) in alone]
    open_ones = [name for name in listed if (version, name) not in tests and name not in bound]
    lines = [
        f"# Statements of MQTT {version} and the tests that cite them",
        "",
        "Written by `tests/spec/generate.py`; do not edit. The words are ours; the statements are those of the",
        "OASIS standard.",
        "",
        f"{len(listed)} statements: {cited} are cited by a test, {len(bound)} bind clients alone or never apply, {len(open_ones)} have no test.",
        "",
        f"## Without a test: {len(open_ones)}",
        "",
        *(f"- MQTT-{name} {listed[name]}" for name in open_ones),
        *([""] if open_ones else []),
        f"## Binding clients alone, or never applying: {len(bound)}",
        "",
        *(f"- MQTT-{name} {listed[name]}: {alone[version, name]}" for name in bound),
        "",
        "## All",
        "",
        "| statement | in a few words | tests |",
        "|---|---|---|",
    ]
    for name, words in listed.items():
        cells = "<br>".join(said(place) for place in sorted(tests.get((version, name), ())))
        cells = cells or ("see above" if name in bound else "-")
        lines.append(f"| MQTT-{name} | {words} | {cells} |")
    strays = sorted((name, place) for v, name, place in unknown if v == version)
    if strays:
        lines += ["", "## Citations of statements that do not exist", "", *(f"- MQTT-{name}: {said(place)}" for name, place in strays)]
    order = list(listed)
    doubtful = [pair for pair in vague if pair[0] in listed]
    doubtful.sort(key=lambda pair: (order.index(pair[0]), pair[1]))
    if doubtful:
        title = "## Citations that do not say which version, and count for none"
        lines += ["", title, "", *(f"- MQTT-{name}: {said(place)}" for name, place in doubtful)]
    return "\n".join(lines) + "\n"


def main():
    lists = {version: statements(version) for version in VERSIONS}
    tests, vague, unknown = scan(lists)
    alone = bind_clients(lists, tests)
    stale = []
    for version, listed in lists.items():
        path = HERE / f"mqtt-{version}.md"
        text = page(version, listed, tests, alone, vague, unknown)
        if sys.argv[1:] != ["--check"]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run python3 tests/spec/generate.py")


if __name__ == "__main__":
    main()
