"""The types of the page's documents in ``ui/src``, read, and documents held against them: these keys, values of these types."""

import math
import re
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "ui" / "src"
TYPES = [SOURCES / f"{name}.ts" for name in ("types", "measured", "races")]


class Reader:
    """A recursive reader of the part of TypeScript that the documents are written in."""

    def __init__(self, text):
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        text = "\n".join(line.split("//")[0] for line in text.splitlines())
        self.words = [w for w in re.findall(r'"[^"]*"|[A-Za-z_]\w*|\[\]|=>|[{}\[\]()<>|&:;,?=]', text)]
        self.at = 0

    def next(self):
        self.at += 1
        return self.words[self.at - 1]

    def peek(self):
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, word):
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def declarations(self):
        found = {}
        while self.peek():
            if self.take("interface"):
                name, parents = self.next(), []
                while self.take("extends") or self.take(","):
                    parents.append(("name", self.next()))
                own = self.primary()
                found[name] = ("both", [*parents, own]) if parents else own
            elif self.take("type"):
                name = self.next()
                self.take("=")
                found[name] = self.type()
            else:
                self.next()
        return found

    def type(self):
        self.take("|")
        parts = [self.sum()]
        while self.take("|"):
            parts.append(self.sum())
        return parts[0] if len(parts) == 1 else ("either", parts)

    def sum(self):
        parts = [self.many()]
        while self.take("&"):
            parts.append(self.many())
        return parts[0] if len(parts) == 1 else ("both", parts)

    def many(self):
        found = self.primary()
        while self.take("[]"):
            found = ("array", found)
        return found

    def primary(self):
        word = self.next()
        if word == "(":
            found = self.type()
            assert self.take(")")
            return found
        if word == "[":
            parts = [self.type()]
            while self.take(","):
                parts.append(self.type())
            assert self.take("]")
            return ("tuple", parts)
        if word == "{":
            fields = {}
            while not self.take("}"):
                name = self.next().strip('"')
                optional = self.take("?")
                assert self.take(":"), (name, self.peek())
                fields[name] = (optional, self.type())
                self.take(";") or self.take(",")
            return ("object", fields)
        if word == "Record":
            assert self.take("<")
            self.type()
            assert self.take(",")
            value = self.type()
            assert self.take(">")
            return ("record", value)
        return ("literal", word[1:-1]) if word.startswith('"') else ("name", word)


@cache
def declared():
    return Reader("\n".join(file.read_text(encoding="utf-8") for file in TYPES)).declarations()


def fields_of(kind):
    """The keys of an object's type, with those of what it extends."""
    what, of = kind
    if what == "name":
        return fields_of(declared()[of])
    if what == "both":
        return {name: field for part in of for name, field in fields_of(part).items()}
    assert what == "object", kind
    return of


def wrong(value, kind, where="document"):
    """What of a value is not as its type says; an empty list for nothing."""
    if isinstance(kind, str):
        kind = ("name", kind)
    what, of = kind
    plain = {
        "string": lambda v: isinstance(v, str),
        "boolean": lambda v: isinstance(v, bool),
        "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v),
        "null": lambda v: v is None,
        "unknown": lambda v: True,
    }
    if what == "name" and of in plain:
        return [] if plain[of](value) else [f"{where}: {value!r} is no {of}"]
    if what == "name":
        return wrong(value, declared()[of], where)
    if what == "literal":
        return [] if value == of else [f"{where}: {value!r} is not {of!r}"]
    if what == "either":
        tries = [wrong(value, part, where) for part in of]
        return [] if any(not one for one in tries) else max(tries, key=len)
    if what == "array":
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [said for k, v in enumerate(value) for said in wrong(v, of, f"{where}[{k}]")]
    if what == "tuple":
        if not isinstance(value, list) or len(value) != len(of):
            return [f"{where}: not {len(of)} long"]
        return [
            said for k, (v, part) in enumerate(zip(value, of, strict=True)) for said in wrong(v, part, f"{where}[{k}]")
        ]
    if not isinstance(value, dict):
        return [f"{where}: no object"]
    if what == "record":
        return [said for k, v in value.items() for said in wrong(v, of, f"{where}.{k}")]
    known = fields_of(kind)
    needed = {name for name, (optional, _) in known.items() if not optional}
    odd = [f"{where}: keys {sorted(needed - set(value))} are missing, {sorted(set(value) - set(known))} unknown"]
    return (odd if needed - set(value) or set(value) - set(known) else []) + [
        said
        for name, (_, part) in known.items()
        if name in value
        for said in wrong(value[name], part, f"{where}.{name}")
    ]
