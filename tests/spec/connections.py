#!/usr/bin/env python3
"""Writes connections.md: the rows S1 to S85 about connections, and the tests that name each.

    python3 connections.py           writes it
    python3 connections.py --check   fails when it differs from what it would write

The rows are in connections.txt. A test names a row in a comment above or within it: `S12, S13`, `S15
to S17`; what a file says in its head counts for none. Naming a row says that the test looks at it, not
that it leaves nothing of it open. Needs Python, and generate.py beside it.
"""

import pathlib
import re
import sys

import generate

HERE = pathlib.Path(__file__).resolve().parent
WHERE = (("src", "*.rs"), ("shards", "*.rs"), ("tests", "*.rs"), ("tests", "*.py"), ("bench", "*.rs"))
NAMED = re.compile(r"\bS(\d{1,2})\b(?: to S(\d{1,2})\b)?")


def rows():
    """Words and reasons by number."""
    listed = {}
    for line in (HERE / "connections.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, words = line.split(" ", 1)
        words, _, reason = (part.strip() for part in words.partition("||"))
        number = int(name.removeprefix("S"))
        if number in listed:
            sys.exit(f"connections.txt has {name} twice")
        listed[number] = (words, reason)
    return listed


def comments(lines):
    """(name of the function, text) of each comment about a function or within one."""
    function, comment, is_above, indent = None, [], False, 0
    for line in [*lines, ""]:
        is_comment = generate.COMMENT.match(line)
        if is_comment and not line.lstrip().startswith(("#[", "#!")) and not line.startswith("//!"):
            is_above = is_above or line.lstrip().startswith("///")
            comment.append(is_comment[1])
            continue
        if comment and line.lstrip().startswith(("#[", "@")):
            continue
        named = generate.NAMED.match(line)
        if named:
            function, indent = named[1], len(line) - len(line.lstrip())
        elif line.rstrip() == " " * indent + "}":
            function = None
        if comment:
            owner = (named[1] if named else None) if is_above else function
            if owner:
                yield owner, " ".join(comment)
            comment, is_above = [], False


def scan(listed):
    """Tests by number."""
    tests = {}
    for folder, pattern in WHERE:
        for path in sorted((generate.ROOT / folder).rglob(pattern)):
            name = path.relative_to(generate.ROOT).as_posix()
            if generate.SKIPPED.intersection(name.split("/")):
                continue
            for function, text in comments(generate.test_lines(path)):
                for first, last in NAMED.findall(text):
                    for number in range(int(first), int(last or first) + 1):
                        if number in listed:
                            tests.setdefault(number, set()).add((name, function))
    return tests


def page(listed, tests):
    named = [number for number in listed if number in tests]
    excused = [n for n, (_, reason) in listed.items() if reason and n not in tests]
    without = [n for n in listed if n not in tests and n not in excused]
    lines = [
        "# What is promised about connections and the tests that name it",
        "",
        "Written by `tests/spec/connections.py`; do not edit. The rows are in `tests/spec/connections.txt`.",
        "",
        f"{len(listed)} rows: {len(named)} are named by a test, {len(excused)} are none of this broker's, {len(without)} have no test.",
        "",
        f"## Without a test: {len(without)}",
        "",
        *(f"- S{number} {listed[number][0]}" for number in without),
        *([""] if without else []),
        f"## None of this broker's: {len(excused)}",
        "",
        *(f"- S{number} {listed[number][0]}: {listed[number][1]}" for number in excused),
        "",
        "## All",
        "",
        "| row | in a few words | tests |",
        "|---|---|---|",
    ]
    for number, (words, _) in listed.items():
        cells = "<br>".join(generate.said(place) for place in sorted(tests.get(number, ())))
        lines.append(f"| S{number} | {words} | {cells or ('see above' if number in excused else '-')} |")
    return "\n".join(lines) + "\n"


def main():
    listed = rows()
    text = page(listed, scan(listed))
    path = HERE / "connections.md"
    if sys.argv[1:] != ["--check"]:
        path.write_text(text, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        sys.exit("stale: connections.md; run python3 tests/spec/connections.py")


if __name__ == "__main__":
    main()
