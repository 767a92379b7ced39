"""From the text of the ini and the options of the command to one Config, or to every mistake."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proxyapp.config.contradictions import contradictions
from proxyapp.config.ini import Entry, Ini, Mistake, Place
from proxyapp.config.option import Option
from proxyapp.config.sections import FAMILIES, OPTIONS, SECTIONS, Config
from proxyapp.config.values import Surroundings, WrongValue

# What looks like a comment behind a value.
_INLINE_COMMENT = re.compile(r"(?:^|\s)([#;].*)")


class ConfigError(Exception):
    """The configuration is wrong; *mistakes* holds one line for each, the file's first."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class Override(NamedTuple):
    """An option of the command that wins over the file; mistakes in it are reported at *flag*."""

    assignment: str
    flag: str = "--set"


class _Draft:
    """The values read so far, where they were written, and the mistakes found on the way."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.mistakes: list[Mistake] = []
        # Section -> field -> option; named sections join as they are opened.
        self.options: dict[str, Mapping[str, Option]] = dict(OPTIONS)
        self._surroundings = surroundings
        self._read: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
        self._places: dict[tuple[str, str], Place] = {}

    def open(self, section: str, place: Place) -> None:
        """Begin *section*, as its heading spells it; what there is none of is a mistake."""
        self._places[section, ""] = place
        word, _, name = section.partition(" ")
        family = FAMILIES.get(word)
        if family is None or not name:
            if section not in SECTIONS:
                self.mistakes.append(_unknown_section(section, place))
            return
        self.options[section] = family.options
        self._read[section] = {family.place: str(place)} if family.place else {}
        try:
            named = family.heading.parse(name, self._surroundings)
            self._read[section][family.heading.field] = named
        except WrongValue as wrong:
            for reason in wrong.reasons:
                self.mistakes.append(Mistake(place, f"[{section}]", reason))

    def take(self, entry: Entry) -> None:
        """Read *entry* into every field that comes from it; what was there before gives way."""
        self._places[entry.section, entry.option] = entry.place
        try:
            for field, option in self.options[entry.section].items():
                if option.name == entry.option:
                    value = option.parse(entry.text, self._surroundings)
                    self._read[entry.section][field] = value
        except WrongValue as wrong:
            hint = None if option.is_secret else _INLINE_COMMENT.search(entry.text)
            reasons = wrong.reasons
            if hint is not None:
                reasons = (f"{hint[1]!r} is no comment here; a comment needs a line of its own",)
            for reason in reasons:
                self.mistakes.append(Mistake(entry.place, entry.about, reason))

    def take_defaults(self, place: Place) -> None:
        """Read the default of every option that wasn't given.

        *place* answers for them; in named sections, which may lack what they must have, their
        heading does.
        """
        for section, options in self.options.items():
            found = place if section in SECTIONS else self._places[section, ""]
            for option in options.values():
                if (section, option.name) not in self._places:
                    text = option.default_text(self._surroundings)
                    self.take(Entry(section, option.name, text, found))

    def place(self, section: str, option: str) -> Place:
        """Say where *option* was written, or where *section* begins if *option* is empty."""
        return self._places[section, option]

    def value(self, section: str, field: str) -> object:
        """Return what was read so far; None if that couldn't be."""
        return self._read[section].get(field)

    def build(self, path: Path | None) -> Config:
        """Build the Config; only where there are no mistakes."""
        make: Callable[..., Config] = Config
        sections = {name: self._section(name, section) for name, section in SECTIONS.items()}
        named: dict[str, list[object]] = {each.collection: [] for each in FAMILIES.values()}
        for heading in list(self._read)[len(SECTIONS) :]:
            family = FAMILIES[heading.partition(" ")[0]]
            named[family.collection].append(self._section(heading, family.section))
        collected = {name: tuple(each) for name, each in named.items()}
        return make(path=path, **sections, **collected)

    def _section(self, name: str, make: Callable[..., object]) -> object:
        return make(**self._read[name])


def load(
    path: Path | None,
    overrides: Iterable[str | Override],
    environ: Mapping[str, str],
    content: bytes | None = None,
) -> Config:
    """Read the ini at *path* (None: the embedded default) and let *overrides* win over it.

    An override is `section.option=value`. Relative paths start at the folder of the ini. With
    *content* that counts, whatever is in the file by now. Raises ConfigError with every mistake of
    file and overrides.
    """
    draft = _drafted(path, overrides, environ, content)
    _raise_if_any(draft.mistakes)
    config = draft.build(None if path is None else path.absolute())
    _raise_if_any(list(contradictions(config, draft.place)))
    return config


def state_folder(
    path: Path | None, overrides: Iterable[str | Override], environ: Mapping[str, str]
) -> Path:
    """Return [proxyapp] state_dir, whatever is wrong elsewhere; the default if that itself is."""
    found = _drafted(path, overrides, environ, None).value("proxyapp", "state_dir")
    if isinstance(found, Path):
        return found
    surroundings = Surroundings(path, environ)
    return Path(OPTIONS["proxyapp"]["state_dir"].default_text(surroundings))


def _drafted(
    path: Path | None,
    overrides: Iterable[str | Override],
    environ: Mapping[str, str],
    content: bytes | None,
) -> _Draft:
    draft = _Draft(Surroundings(path, environ))
    if path is not None:
        _read_file(path, content, draft)
    _read_overrides(overrides, draft)
    draft.take_defaults(Place("default" if path is None else str(path)))
    return draft


def _raise_if_any(mistakes: Sequence[Mistake]) -> None:
    # Those of the file by line, then those of the command.
    ordered = sorted(mistakes, key=lambda mistake: mistake.place.line or sys.maxsize)
    if ordered:
        raise ConfigError([str(mistake) for mistake in ordered])


def _read_file(path: Path, content: bytes | None, draft: _Draft) -> None:
    name = str(path)
    try:
        data = path.read_bytes() if content is None else content
        text = data.decode("utf-8-sig")
    except OSError as error:
        draft.mistakes.append(Mistake(Place(name), "", f"can't be read: {error.strerror}"))
        return
    except UnicodeDecodeError as error:
        place = Place(name, error.object.count(b"\n", 0, error.start) + 1)
        byte = error.object[error.start]
        reason = f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        draft.mistakes.append(Mistake(place, "", reason))
        return
    ini = Ini(name, text)
    draft.mistakes += ini.mistakes
    for heading, place in ini.headings.items():
        draft.open(heading, place)
    _take_all([entry for entry in ini.entries if entry.section in draft.options], draft)


def _read_overrides(overrides: Iterable[str | Override], draft: _Draft) -> None:
    entries: list[Entry] = []
    for given in overrides:
        assignment, flag = Override(given) if isinstance(given, str) else given
        name, equals, text = assignment.partition("=")
        section, dot, option = name.strip().partition(".")
        place = Place(flag)
        if not equals or not dot:
            reason = f"{assignment!r} is not an assignment; SECTION.OPTION=VALUE would be right"
            draft.mistakes.append(Mistake(place, "", reason))
        elif section.partition(" ")[0] in FAMILIES:
            reason = "named sections are not set by the command; write them into the ini"
            draft.mistakes.append(Mistake(place, f"[{section}]", reason))
        elif section not in SECTIONS:
            draft.mistakes.append(_unknown_section(section, place))
        else:
            entries.append(Entry(section, option, text.strip(), place))
    _take_all(entries, draft)


def _take_all(entries: Iterable[Entry], draft: _Draft) -> None:
    """Read the entries of one source, in which an option may stand once."""
    seen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        first = seen.setdefault((entry.section, entry.option), entry)
        known = draft.options[entry.section].values()
        if all(option.name != entry.option for option in known):
            draft.mistakes.append(_unknown_option(entry, {option.name for option in known}))
        elif first is not entry:
            reason = f"is there twice, first at {first.place}; once would be right"
            draft.mistakes.append(Mistake(entry.place, entry.about, reason))
        else:
            draft.take(entry)


def _unknown_section(section: str, place: Place) -> Mistake:
    word, _, name = section.partition(" ")
    shown = {each: f"{each} {family.heading.placeholder}" for each, family in FAMILIES.items()}
    known = {each: each for each in SECTIONS} | shown
    near = difflib.get_close_matches(word.lower(), known, 1)
    if word in FAMILIES:
        reason = f"there is no name behind {word}; [{shown[word]}] would be right"
    elif near:
        right = f"{near[0]} {name}" if near[0] in FAMILIES and name else known[near[0]]
        reason = f"unknown section; [{right}] would be right"
    else:
        reason = f"unknown section; known are {', '.join(known.values())}"
    return Mistake(place, f"[{section}]", reason)


def _unknown_option(entry: Entry, names: set[str]) -> Mistake:
    near = difflib.get_close_matches(entry.option.lower(), sorted(names), 1)
    elsewhere = [f"[{section}]" for section, known in OPTIONS.items() if entry.option in known]
    elsewhere += [
        f"[{word} {family.heading.placeholder}]"
        for word, family in FAMILIES.items()
        if entry.option in family.options
    ]
    if near:
        right = f"{near[0]} would be right"
    elif elsewhere:
        right = f"it belongs to {' or '.join(elsewhere)}"
    else:
        right = f"known are {', '.join(sorted(names))}"
    return Mistake(entry.place, entry.about, f"unknown option; {right}")
