"""From the text of the ini and the options of the command to one Config, or to every mistake."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proxyapp.config.ini import Entry, Ini, Mistake, Place
from proxyapp.config.listeners import is_shareable
from proxyapp.config.sections import OPTIONS, SECTIONS, Config, Section
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
        self._surroundings = surroundings
        self._read: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
        self._places: dict[tuple[str, str], Place] = {}

    def take(self, entry: Entry) -> None:
        """Read *entry* into every field that comes from it; what was there before gives way."""
        self._places[entry.section, entry.option] = entry.place
        try:
            for field, option in OPTIONS[entry.section].items():
                if option.name == entry.option:
                    value = option.parse(entry.text, self._surroundings)
                    self._read[entry.section][field] = value
        except WrongValue as wrong:
            for reason in _with_hint(wrong, entry.text):
                self.mistakes.append(Mistake(entry.place, entry.about, reason))

    def take_defaults(self, place: Place) -> None:
        """Read the default of every option that wasn't given; *place* answers for them."""
        for section, options in OPTIONS.items():
            for option in options.values():
                if (section, option.name) not in self._places:
                    text = option.default_text(self._surroundings)
                    self.take(Entry(section, option.name, text, place))

    def place(self, section: str, option: str) -> Place:
        """Say where *option* was written."""
        return self._places[section, option]

    def build(self, path: Path | None) -> Config:
        """Build the Config; only where there are no mistakes."""
        make: Callable[..., Config] = Config
        return make(path=path, **{name: self._section(name) for name in SECTIONS})

    def _section(self, name: str) -> Section:
        make: Callable[..., Section] = SECTIONS[name]
        return make(**self._read[name])


def load(
    path: Path | None, overrides: Iterable[str | Override], environ: Mapping[str, str]
) -> Config:
    """Read the ini at *path* (None: the embedded default) and let *overrides* win over it.

    An override is `section.option=value`. Relative paths start at the folder of the ini. Raises
    ConfigError with every mistake of file and overrides.
    """
    draft = _Draft(Surroundings(path, environ))
    if path is not None:
        _read_file(path, draft)
    _read_overrides(overrides, draft)
    draft.take_defaults(Place("default" if path is None else str(path)))
    _raise_if_any(draft.mistakes)
    config = draft.build(None if path is None else path.absolute())
    _raise_if_any(list(_contradictions(config, draft)))
    return config


def _raise_if_any(mistakes: Sequence[Mistake]) -> None:
    # Those of the file by line, then those of the command.
    ordered = sorted(mistakes, key=lambda mistake: mistake.place.line or sys.maxsize)
    if ordered:
        raise ConfigError([str(mistake) for mistake in ordered])


def _read_file(path: Path, draft: _Draft) -> None:
    name = str(path)
    try:
        data = path.read_bytes()
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
        if heading not in SECTIONS:
            draft.mistakes.append(_unknown_section(heading, place))
    _take_all([entry for entry in ini.entries if entry.section in SECTIONS], draft)


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
        if all(option.name != entry.option for option in OPTIONS[entry.section].values()):
            draft.mistakes.append(_unknown_option(entry))
        elif first is not entry:
            reason = f"is there twice, first at {first.place}; once would be right"
            draft.mistakes.append(Mistake(entry.place, entry.about, reason))
        else:
            draft.take(entry)


def _unknown_section(name: str, place: Place) -> Mistake:
    near = difflib.get_close_matches(name.lower(), SECTIONS, 1)
    right = f"[{near[0]}] would be right" if near else f"known are {', '.join(SECTIONS)}"
    return Mistake(place, f"[{name}]", f"unknown section; {right}")


def _unknown_option(entry: Entry) -> Mistake:
    names = {option.name for option in OPTIONS[entry.section].values()}
    near = difflib.get_close_matches(entry.option.lower(), sorted(names), 1)
    elsewhere = [f"[{section}]" for section, known in OPTIONS.items() if entry.option in known]
    if near:
        right = f"{near[0]} would be right"
    elif elsewhere:
        right = f"it belongs to {' or '.join(elsewhere)}"
    else:
        right = f"known are {', '.join(sorted(names))}"
    return Mistake(entry.place, entry.about, f"unknown option; {right}")


def _with_hint(wrong: WrongValue, text: str) -> tuple[str, ...]:
    comment = _INLINE_COMMENT.search(text)
    if comment is None:
        return wrong.reasons
    return (f"{comment[1]!r} is no comment here; a comment needs a line of its own",)


def _contradictions(config: Config, draft: _Draft) -> Iterator[Mistake]:
    """Find what is wrong only because of what stands elsewhere."""
    listening = [("proxy", each) for each in config.proxy.listen]
    listening += [("site", each) for each in config.site.listen]
    if not listening:
        reason = "nothing listens, neither proxy nor site; tcp:3128 would be right"
        yield Mistake(draft.place("proxy", "listen"), "[proxy] listen", reason)
    taken: dict[str, str] = {}
    for section, description in listening:
        if description in taken and not is_shareable(description):
            reason = f"{description} is taken by [{taken[description]}] listen; use another"
            yield Mistake(draft.place(section, "listen"), f"[{section}] listen", reason)
        taken.setdefault(description, section)
